"""The question as the readers of passages should take it: without the frame that only people need."""

import re

_FRAME = re.compile(
    r"(?:(?:please|kindly|can you|could you)\s+)*"
    r"(?:what|which\s+\w+)\s+(?:do|does|did)\s+(?P<source>.{1,200}?)\s+"
    r"(?:say|state|mention|specify|tell\s+(?:me|us)|report|write)\s+(?:about|on|regarding|concerning)\s+(?P<topic>.+)",
    re.IGNORECASE | re.DOTALL,
)
_TELL_ME = re.compile(
    r"(?:(?:please|kindly|can you|could you)\s+)*(?:tell|show|give|explain(?:\s+to)?)\s+(?:me|us)\s+(?:about\s+)?"
    r"(?P<topic>.+)",
    re.IGNORECASE | re.DOTALL,
)
_ARTICLE = re.compile(r"^(?:the|our|this|that|these|those|my|your)\s+", re.IGNORECASE)


def contextualize(question: str) -> str:
    """Return what to look for in passages: "What does the policy say about travel?" asks for "travel policy".

    Search and generators get the question as it was asked; a cross-encoder looks for passages that "say about".
    """
    framed = _FRAME.fullmatch(question.strip())
    if framed is not None:
        return f"{_ARTICLE.sub('', framed['topic'].rstrip('?. '))} {_ARTICLE.sub('', framed['source'])}"
    told = _TELL_ME.fullmatch(question.strip())
    return told["topic"] if told is not None else question
