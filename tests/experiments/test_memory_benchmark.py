"""The benchmark of memory: what it refuses, its tables, and a run."""

import json
import pathlib
import subprocess
import sys

import pytest

from experiments.benchmarks import memory

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--models=edvr", "--models"),
        ("--policies=all", "none, step, block"),
        ("--policies=step/half", "'half'"),
        ("--policies=step/0", "'0'"),
        ("--policies=none/3", "4 into 3 parts"),
        ("--repeats=1", "--repeats"),
        ("--frames=0", "--frames"),
    ],
)
def test_refuses_what_it_cannot_measure(option, message, capsys):
  assert memory.main(["--batch=4", option]) == 2
  assert message in capsys.readouterr().err


def test_a_policy_says_its_parts_in_any_order():
  wanted = memory.Policy("step", 2, "bfloat16", True)
  assert memory.Policy.parse("step/2/bfloat16/unrolled") == wanted
  assert memory.Policy.parse("step/unrolled/bfloat16/2") == wanted
  assert memory.Policy.parse("none") == memory.Policy()


def _row(policy, share, ratio):
  times = {"median_s": ratio, "min_s": ratio / 2, "max_s": 2 * ratio}
  return {
      "policy": policy, "program_bytes": int(share * 2**30),
      "program_share": share, "measured_bytes": None, "compile_s": 1.0,
      "sides": {policy: times}, "ratio": ratio,
  }


def test_the_leanest_is_among_those_that_are_fast_enough():
  rows = [
      _row("none", 1.0, 1.0), _row("block", 0.5, 1.1), _row("step", 0.4, 1.3),
      _row("step/2", 0.2, 1.5),
  ]
  assert memory.leanest(rows)["policy"] == "step"
  assert memory.leanest(rows[3:]) is None
  head, _, *lines = memory.markdown(rows).splitlines()
  assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
  cells = [cell.strip() for cell in lines[2].split("|")]
  assert cells[1:4] == ["step", "410", "0.40"] and "compile s" in head


@pytest.mark.slow  # Three processes that compile.
def test_a_row_has_both_memories_and_times_in_turns(tmp_path):
  out = tmp_path / "out.json"
  command = [
      sys.executable, "-m", "experiments.benchmarks.memory", "--small",
      "--models=fastdvdnet", "--size=96", "--batch=4", "--repeats=2",
      "--policies=block/2,none/unrolled", f"--json={out}",
  ]
  subprocess.run(command, check=True, cwd=ROOT)
  content = json.loads(out.read_text())
  none, lean = content["rows"]  # What has no loop has none to unroll.
  assert (none["policy"], lean["policy"]) == ("none", "block/2")
  assert none["program_share"] == none["measured_share"] == 1
  assert lean["program_share"] < 0.6 and lean["measured_share"] < 0.8
  assert set(lean["sides"]) == {"none", "block/2"}
  # The same loss of the same clips after as many steps.
  assert lean["loss"] == pytest.approx(none["loss"], rel=0.05)
