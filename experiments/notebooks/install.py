"""Installs this checkout with the jax of the machine's device, for notebooks.

They run it where the package is missing, as on Colab. What is there already (an
older jax, numpy) is upgraded where the package needs it to be.
"""

# Nothing of the package is there yet: standard library only.
import importlib
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def extra(smi: str, installed: set[str]) -> str:
  """The extra of jax to install: cuda12, cuda13 or tpu; "" for the CPU.

  Args:
    smi: what `nvidia-smi` says; "" where there is no GPU of NVIDIA's.
    installed: names of the packages that are there.
  """
  if driver := re.search(r"CUDA Version: (\d+)", smi):
    # Of two plugins both would claim the GPU: the one that is there is kept.
    for name in ("cuda12", "cuda13"):
      if f"jax-{name}-plugin" in installed:
        return name
    return "cuda13" if int(driver[1]) >= 13 else "cuda12"
  return "tpu" if "libtpu" in installed else ""


def outdated(modules, version=importlib.metadata.version) -> list[str]:
  """What was imported before another version of it was installed.

  Args:
    modules: as `sys.modules`.
    version: of an installed package, by its name.
  """
  return [
      f"{name} {modules[name].__version__} (now {version(name)})"
      for name in ("jax", "numpy")
      if name in modules and modules[name].__version__ != version(name)
  ]


def main():
  """Installs.

  Raises:
    subprocess.CalledProcessError: pip, which says why.
    RuntimeError: the session holds what was replaced, and has to be restarted.
  """
  smi = ""
  if shutil.which("nvidia-smi"):
    smi = subprocess.run(
        ["nvidia-smi"], capture_output=True, text=True, check=False
    ).stdout
  names = {
      found.metadata["Name"] for found in importlib.metadata.distributions()
  }
  jax = f"jax[{extra(smi, names)}]".replace("[]", "")
  print(f"Installs the package, with {jax}.")
  pip = [sys.executable, "-m", "pip", "install", "-q"]
  subprocess.run([*pip, jax, "-e", f"{CHECKOUT}[video]"], check=True)
  importlib.invalidate_caches()
  if old := outdated(sys.modules):
    raise RuntimeError(
        f"All is installed, but this session still holds {', '.join(old)}."
        " Choose Runtime > Restart session, then Runtime > Run all."
    )


if __name__ == "__main__":
  main()
