"""A benchmark of one's own: a family of reasoning-gym as one row, and problems of it for every split."""

from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import BENCHMARKS, Benchmark
from lrs.tasks.problems import draw_problems

BENCHMARKS["gcd"] = Benchmark(
    dataset="gcd",
    keep=("numbers",),
    state=lambda metadata: f"gcd {' , '.join(map(str, metadata['numbers']))}",
    canonical=lambda metadata: " ".join(map(str, sorted(metadata["numbers"]))),  # order does not matter
    legal=lambda answer, _: answer.isdecimal() and len(answer) < 10,  # what its scorer may see at all
)

difficulty = {"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 99}
problems = draw_problems("gcd", difficulty, {"reward": 4, "validation": 2, "test": 2}, seed=0)
for problem in problems:
    right = is_correct(problem, f"<think> </think> answer {problem.answer}")
    print(problem.split, problem.question, problem.answer, right)
