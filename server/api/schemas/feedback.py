"""Bodies of feedback."""

from typing import Annotated

from pydantic import Field

from server.api.schemas.common import Body
from server.feedback import Fault, Rating, State


class FeedbackBody(Body):
    """request_id: the x-request-id of the answer. fault: guessed where left out. edited_answer: as it should be."""

    request_id: Annotated[str, Field(min_length=1, max_length=100)]
    rating: Rating
    fault: Fault | None = None
    comment: Annotated[str, Field(max_length=2_000)] = ""
    edited_answer: Annotated[str, Field(max_length=20_000)] = ""


class ReviewBody(Body):
    state: State
