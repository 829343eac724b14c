"""The workbook as an nbgrader course: where things are, and how nbgrader is configured.

A course elsewhere uses it from its own `nbgrader_config.py`, see the one in this repository.
"""

from pathlib import Path
from typing import Any

from autograder.exercises import Exercise

VALIDATION_TIMEOUT = 300  # seconds, a cell; students press Validate

_NBGRADERS = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback"]  # what nbgrader ignores by default
_NEVER_COPIED = ["ch*_ex*.py", "wrong", "right", "gradebook.db*", "records.db*", ".*_cache"]


def course_config(root: Path) -> Any:
    """Returns the configuration of nbgrader, as a traitlets Config.

    Args:
        root: The course's folder: `solutions/` is released to `exercises/`; `submitted/`, `autograded/`, `feedback/`
            `gradebook.db` and `records.db` are made in it.
    """
    from traitlets.config import Config

    root = root.resolve()
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}"  # absolute: servers start anywhere
    config.CourseDirectory.source_directory = "solutions"
    config.CourseDirectory.release_directory = "exercises"
    config.CourseDirectory.ignore = [*_NBGRADERS, *_NEVER_COPIED]

    config.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
    config.GenerateAssignment.preprocessors = [
        "autograder.course.release.CheckRoom",
        "nbgrader.preprocessors.LockCells",
        "nbgrader.preprocessors.ClearSolutions",
        "nbgrader.preprocessors.ClearOutput",
        "nbgrader.preprocessors.CheckCellMetadata",
        "nbgrader.preprocessors.ComputeChecksums",
        "nbgrader.preprocessors.SaveCells",
        "autograder.course.release.MarkRelease",
    ]
    # Nothing may execute a submission but the sandbox: see autograder.course.autograde, which replaces these steps.
    config.Autograde.sanitize_preprocessors = ["autograder.course.autograde.Refuse"]
    config.Autograde.autograde_preprocessors = ["autograder.course.autograde.Refuse"]
    config.Execute.timeout = VALIDATION_TIMEOUT
    # A grader's browser shows submissions with the grader's rights on the gradebook: nothing in them may be a script.
    config.HTMLExporter.sanitize_html = True
    config.HTMLExporter.filters = {
        "clean_html": "autograder.course.safe_html.clean",  # outputs
        "strip_files_prefix": "autograder.course.safe_html.clean",  # what nbgrader's templates do last with Markdown
    }
    return config


def load_config(root: Path) -> Any:
    """Returns the configuration as the course's `nbgrader_config.py` makes it; as it is here where there is none."""
    from traitlets.config.loader import PyFileConfigLoader

    name = "nbgrader_config.py"
    if not (root / name).is_file():
        return course_config(root)
    return PyFileConfigLoader(name, path=str(root)).load_config()


def course_directory(root: Path) -> Any:
    """Returns nbgrader's CourseDirectory of the course."""
    from nbgrader.coursedir import CourseDirectory

    return CourseDirectory(config=load_config(root))


def students_of(exercise: Exercise, coursedir: Any) -> list[str]:
    """Returns who has submitted an exercise and is not excluded: the names of their folders in `submitted/`."""
    submitted = Path(coursedir.root) / coursedir.submitted_directory
    found = {path.name for path in submitted.glob("[!.]*") if (path / exercise.name).is_dir()}
    return sorted(found - set(coursedir.student_id_exclude.split(",")))


def grade_in_sandbox() -> None:
    """Lets nbgrader autograde by the judge, from the command line and from formgrader alike."""
    from nbgrader.apps import api, autogradeapp

    from autograder.course.autograde import SandboxedAutograde

    # nbgrader has no setting for the class that autogrades; these are the two places where it makes one.
    for module in (api, autogradeapp):
        if not hasattr(module, "Autograde"):
            raise ImportError(f"{module.__name__} has no Autograde: this nbgrader is not one that the autograder knows")
        module.Autograde = SandboxedAutograde
