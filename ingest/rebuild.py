"""Build a new index generation beside the live one, verify it, and make it live.

Searches go on throughout, on the live generation. Ingest goes on too, but for the last moment: what it changed
meanwhile is caught up under the write lock, and the switch happens under the same lock.
"""

import time

from config.errors import BadRequestError, HousevoiceError
from ingest.accept import Checked, SwitchReport, Terms, check, emptied, report
from ingest.follow import Followed, Follower, OnProgress
from ingest.generations import Generation, IndexGenerations

ENOUGH_ROUNDS = 5
"""Of catching up without the write lock; whatever is left after them is caught up under it."""

SMALL_LAG = 20
"""Documents; so few that an ingest may wait for them."""


def rebuild(generations: IndexGenerations, terms: Terms, on_progress: OnProgress) -> SwitchReport:
    """With the present settings. A rebuild that was stopped, or refused by its verification, is kept unfinished; the
    next one goes on from there if the settings are still the same.
    """
    started = time.monotonic()
    with generations.using() as live:
        built = _begin(generations, live)
        is_live = False
        try:
            followed = _follow(live, built, on_progress)
            checked = check(live.store, built.store, terms, on_progress)
            if not checked.refusal:
                _finish(generations, live, built, checked, followed, on_progress)
                is_live = True
            return report(live, built, followed, checked, time.monotonic() - started)
        finally:
            if not is_live:
                built.store.close()


def _begin(generations: IndexGenerations, live: Generation) -> Generation:
    """The unfinished generation of the same recipe where there is one, else a new one."""
    wanted = generations.wanted
    for card in generations.folder.cards():
        if not card.is_complete and card.number != live.number and card.recipe == wanted:
            return generations.open_one(card.number)
    return generations.open_one(generations.folder.create(wanted, generations.shelf.source).number)


def _follow(live: Generation, built: Generation, on_progress: OnProgress) -> Followed:
    """Until hardly anything is left."""
    follower = Follower(live.store, built.store, any_recipe=False)
    follower.copy_tables()
    followed = follower.follow(on_progress, "rebuild")
    for _ in range(ENOUGH_ROUNDS):
        if len(follower.lag()) <= SMALL_LAG:
            break
        followed.add(follower.follow(on_progress, "catch up"))
    return followed


def _finish(
    generations: IndexGenerations,
    live: Generation,
    built: Generation,
    checked: Checked,
    followed: Followed,
    on_progress: OnProgress,
) -> None:
    """The rest, with nobody writing, and the switch."""
    with generations.writing() as still_live:
        if still_live is not live:
            raise BadRequestError("Another generation became live meanwhile.", hint="Run the rebuild again.")
        follower = Follower(live.store, built.store, any_recipe=False)
        followed.add(follower.follow(on_progress, "catch up"))
        parity = built.store.check_parity()
        if len(follower.lag()) or not parity.is_good or emptied(live.store, built.store):
            raise HousevoiceError(
                f"Index generation {built.number} is not whole: {parity}, {len(follower.lag())} documents differ.",
                "Generation stays as it is; run the rebuild again, or housevoice index prune.",
            )
        built.card = generations.folder.complete(built.number, checked.values)
        with generations.ruling():
            followed.add(follower.follow(on_progress, "catch up"))  # what was quarantined meanwhile
            follower.copy_tables()
            generations.switch(built)
