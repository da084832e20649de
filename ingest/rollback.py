"""Go back to an index generation that is kept, and remove those that are not needed any more."""

import time

from config.errors import BadRequestError, NotFoundError
from ingest.accept import SwitchReport, Terms, check, report
from ingest.follow import Follower, OnProgress
from ingest.generation import Card
from ingest.generations import IndexGenerations


def roll_back(generations: IndexGenerations, number: int | None, on_progress: OnProgress) -> SwitchReport:
    """To the generation that was live before, or to `number`. What was ingested or removed since is caught up first, so
    that going back brings no deleted document back and forgets no new one. Writers wait meanwhile.

    Raises NotFoundError or BadRequestError where there is none to go back to, ModelError where its embedder is gone.
    """
    started = time.monotonic()
    with generations.writing() as live:
        target = generations.open_one(_choose(generations, number).number)
        is_live = False
        try:
            follower = Follower(live.store, target.store, any_recipe=True)
            followed = follower.follow(on_progress, "catch up")
            checked = check(live.store, target.store, Terms((), lambda *_: [], 0.0), on_progress)
            if not checked.refusal:
                with generations.ruling():
                    followed.add(follower.follow(on_progress, "catch up"))  # what was quarantined meanwhile
                    follower.copy_tables()
                    generations.switch(target)
                is_live = True
            return report(live, target, followed, checked, time.monotonic() - started)
        finally:
            if not is_live:
                target.store.close()


def prune(generations: IndexGenerations, keep: int) -> list[int]:
    """Remove all but the live generation and the `keep` complete ones that were made last before it, the one that was
    live before first of all. Returns the numbers of what went.
    """
    with generations.writing() as live:
        others = [card for card in generations.folder.cards() if card.number != live.number]
        previous = generations.folder.previous()
        complete = [card.number for card in others if card.is_complete]
        kept = sorted(complete, key=lambda number: (number != previous, -number))[:keep]
        gone = [card.number for card in others if card.number not in kept]
        for number in gone:
            generations.folder.remove(number)
        return gone


def _choose(generations: IndexGenerations, number: int | None) -> Card:
    chosen = generations.folder.previous() if number is None else number
    if chosen is None:
        raise NotFoundError(
            "No earlier index generation is kept.", hint="housevoice index list shows those that there are."
        )
    card = generations.folder.card(chosen)
    if chosen == generations.number or not card.is_complete:
        what = "is live already" if chosen == generations.number else "was never finished"
        raise BadRequestError(
            f"Index generation {chosen} {what}.", "number", hint="housevoice index list shows the others."
        )
    return card
