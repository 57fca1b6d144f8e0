"""One driver of the chaos study: ``driver.py STUDY FACTS COUNT`` asks, runs and tells until COUNT
trials are in the journal; started again, it goes on."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.execution.jobs import restore_floats, run_folder, unfinished
from sweeper.execution.lock import StudyLock
from sweeper.execution.slots import fan_out
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.search.space import load_space
from sweeper.search.study import JointStudy
from sweeper.types import Facts, Fix, Job, Judgement, Outcome, Trial

SLOTS = 2


def main(study_folder: Path, facts_file: Path, count: int) -> None:
    import json

    facts = Facts.from_dict(restore_floats(json.loads(facts_file.read_text())))
    program = parse_program([str(Path(__file__))])
    space = load_space(None)
    with StudyLock(study_folder):
        study = JointStudy(
            study_folder / "journal.log", dimensions=space.applicable(facts)[0],
            remedies=space.remedies, max_changes=space.max_changes, seed=0,
            again=[job.fix for job in unfinished(study_folder)],
        )  # fmt: skip
        runs = Supervisor(program, log=study_folder / "zygote.log")
        under_way = 0

        def next_job() -> Job | None:
            nonlocal under_way
            if len(study.told) + under_way >= count:
                return None
            fix = study.ask()
            if fix is None:
                return None
            under_way += 1
            return Job(
                program=program, fix=fix, seed=0, folder=run_folder(study_folder, fix, 0, None)
            )

        def done(job: Job, outcome: Outcome) -> None:
            nonlocal under_way
            under_way -= 1
            study.tell(_trial(job.fix, outcome, job.folder))

        fan_out(next_job, done, SLOTS, runs.run, runs.cancel)
        runs.close()


def _trial(fix: Fix, outcome: Outcome, folder: Path) -> Trial:
    score = int(fix.hash[:4], 16) / 65536
    judgement = Judgement(
        restored=False, score=score, skill=score, metric_name="accuracy", metric=score,
        reasons=("not learning",), violations={"finite": -1.0, "learning": 1.0 - score},
    )  # fmt: skip
    ran = outcome.status == "finished"
    return Trial(
        number=0, phase="joint", fix=fix, seed=0, folder=folder, outcome=outcome,
        judgement=judgement if ran else None,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
