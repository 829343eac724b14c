"""Why nothing is graded, or nothing more: each of these says in its message what to do."""

from autograder.course.fingerprint import StaleProcessError
from autograder.course.gradebook import GradebookError
from autograder.course.ledger import NoPlaceError
from autograder.course.records import RecordsError
from autograder.course.signing import KeyFileError
from autograder.exercises import ExerciseError
from autograder.isolation_check import WeakIsolationError
from autograder.notebooks import NotebookError

REFUSALS = (
    GradebookError,
    RecordsError,
    NoPlaceError,
    KeyFileError,
    StaleProcessError,
    WeakIsolationError,
    ExerciseError,
    NotebookError,
)
