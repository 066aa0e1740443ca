"""What is in a trace that the profiler left."""

import gzip
import json


def events(folder) -> list[dict]:
  """The events of the one trace under a folder."""
  (path,) = folder.glob("plugins/profile/*/*.trace.json.gz")
  (_,) = folder.glob("plugins/profile/*/*.xplane.pb")  # TensorBoard's.
  return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def steps(folder, name: str) -> list[int]:
  """The numbers of the steps that are annotated with a name."""
  return sorted(
      int(event["args"]["step_num"])
      for event in events(folder)
      if event.get("name") == name and "step_num" in event.get("args", {})
  )
