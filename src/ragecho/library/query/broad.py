"""Questions that no passage answers: what a document is about, and which documents there are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragecho.kernel.passages import Passage
from ragecho.library.query.options import Scope

# What is asked of one document; which one it is, a name in the question or a filter has to say.
_SUMMARY = re.compile(
    r"""
    \bsummar(?:y|i[sz]e[sd]?|ies)\b|\btl;?dr\b|\boverview\b|\boutline\ of\b|\bgist\b
    |\b(?:main|key)\ (?:points|topics|findings|ideas)\b
    |\bzusammenfass(?:ung|en)\b|\bworum\ geht\b|\bwovon\ handelt\b|\büberblick\b
    |\br[ée]sum(?:e|é|er|ez|en|o)\b|\bresúm\w+\b|\bresum(?:ir|en|a|ir)\b
    |\bde\ quoi\ (?:parle|traite|s['’]agit)\b|\bde\ qu[ée]\ (?:trata|va|habla)\b|\bsíntesis\b
    |\briassu\w+\b|\bdi\ (?:cosa|che\ cosa)\ (?:parla|tratta)\b|\bdo\ que\ (?:trata|fala)\b|\bsamenvatt\w+\b
    |краткое\ содержание|о\ ч[её]м|резюмир\w+|перескаж\w+
    |总结|總結|概括|摘要|讲了什么|講了什麼|主要内容|主要內容|关于什么|關於什麼|要約|まとめて|何について|何が書かれて
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FRAMES = re.compile(
    r"\bwhat(?:'s|’s| is| are| does| do)\b.*\b(?:about|deal with|contain)\b\W*$|\bfass(?:e|en|t)?\b.*\bzusammen\b|\bwaar gaat\b.*\bover\b",
    re.IGNORECASE,
)
# Words that say nothing about the subject: a question of nothing else is about the document as a whole.
_GENERIC = frozenset(
    """
    what whats s is are does do about deal with contain the a an of in this that these it please can could you would i me us
    give write make get show tell short brief quick long whole entire full document documents file files text pdf docx book
    paper report article page letter doc sentence sentences words few bullet points two three five one summary for to from
    fasse fass fassen fasst zusammen bitte das den die der dieses diese dieser diesen diesem dem des kurz in wenigen sätzen dokument datei text
    bericht artikel buch gib geben mir einen eine ein über von worum geht es handelt wovon hier
    le la les un une de du des ce cet cette document fichier texte rapport article livre fais faites moi en quelques phrases
    brièvement s il te vous plaît quoi
    el los las una unos este esta esto ese documento archivo fichero texto informe artículo libro haz hazme dame por favor
    en pocas frases breve qué que va trata habla un del
    il lo gli i uno questo questa documento testo relazione articolo libro fammi dammi breve per favore del
    o os um uma este esta isto ficheiro arquivo relatório artigo livro faça me dê do da
    het een dit deze document bestand tekst rapport artikel boek geef maak mij korte van waar gaat over samen vat
    этот эта это документ файл текст отчёт отчет статья книга сделай дай краткое пожалуйста этого документа файла
    """.split()  # noqa: SIM905 (a list of a hundred quoted words is harder to read)
)
_GENERIC_SIGNS = re.compile(
    r"[这這该該此本]|[份个個篇]|文件|文档|文檔|文章|报告|報告|[书書的了是请請吧吗嗎主]|一下|内容|內容|什么|什麼|[讲講说說]|帮我|幫我|"
    r"この|その|ファイル|文書|ドキュメント|は|を|の|して|ください|下さい|です|か|何"
)
_WORDS = re.compile(r"\w+")
# Which documents: what stands behind is what they are looked for by.
_LISTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^\W*(?:which|what|list(?:\s+all)?|show(?:\s+me)?(?:\s+all)?|find(?:\s+me)?(?:\s+all)?)\s+(?:the\s+|of\s+(?:the|my|our)\s+|my\s+|our\s+|other\s+)?"
        r"(?:documents?|files?|papers?|reports?|articles?|pdfs?)\s+(?:(?:do|have|are|is)\s+(?:i|we|you|there)\s+(?:have\s+|got\s+)?|(?:are|that\s+are|which\s+are)\s+)?"
        r"(?:about|on|regarding|concerning|that\s+mention|mention|mentioning|that\s+(?:talk|speak)\s+about|discuss|that\s+discuss|dealing\s+with|that\s+deal\s+with)\s+(?P<topic>.+)$",
        r"^\W*(?:welche|liste?|zeige?(?:\s+mir)?)\s+(?:alle\s+|die\s+)?(?:dokumente|dateien|berichte|unterlagen)\s+(?:(?:habe\s+ich|haben\s+wir|gibt\s+es|sind)\s+)?"
        r"(?:über|zu|zum|zur|von|erwähnen|handeln\s+von)\s+(?P<topic>.+)$",
        r"^\W*(?:quels|liste[rz]?|montre[rz]?(?:-moi)?)\s+(?:les\s+|mes\s+)?(?:documents|fichiers|rapports)\s+(?:(?:ai-je|avons-nous|avez-vous|y\s+a-t-il|parlent|traitent)\s+)?"
        r"(?:sur|de|du|des|concernant|à\s+propos\s+d['eu]\w*)\s+(?P<topic>.+)$",
        r"^\W*(?:qué|que|cuáles|lista|muestra(?:me)?)\s+(?:los\s+|mis\s+)?(?:documentos|archivos|ficheros|informes)\s+(?:(?:tengo|tenemos|hay|hablan|tratan)\s+)?"
        r"(?:sobre|de|acerca\s+de)\s+(?P<topic>.+)$",
        r"^\W*(?:哪些|列出|有哪些)(?:文件|文档|文檔|报告|資料|资料)(?:是)?(?:关于|關於|提到|涉及|讲到)(?P<topic>.+?)(?:的)?\W*$",
    )
)
_END = re.compile(r"[\s?？!.。]+$")


@dataclass(frozen=True, slots=True)
class Broad:
    """What a broad question is after: `topic` is what documents are looked for by, None where one document is meant."""

    scope: Scope
    topic: str | None = None


def broad_of(question: str) -> Broad | None:
    """Return what a broad question is after, None for the others: nearly all of them."""
    for pattern in _LISTS:
        match = pattern.match(question)
        if match and (topic := _END.sub("", match["topic"])):
            return Broad(Scope.DOCUMENTS, topic)
    return Broad(Scope.DOCUMENT) if _SUMMARY.search(question) or _FRAMES.search(question) else None


def is_about_all(question: str, name: str = "") -> bool:
    """Tell whether a question asks for a document as a whole; `name` is how the question names it.

    What is left of "Summarise the warranty terms in terms.pdf" is a subject: passages answer that.
    """
    rest = question.casefold()
    if name:
        rest = rest.replace(name.casefold(), " ")
    rest = _GENERIC_SIGNS.sub(" ", _SUMMARY.sub(" ", rest))
    return all(word in _GENERIC for word in _WORDS.findall(rest))


def spread_out(sections: Sequence[tuple[str, ...]], k: int) -> list[int]:
    """Return the places of up to `k` chunks of a document, in reading order, that show what it is about.

    `sections` holds each chunk's headings, in reading order. The opening is always shown, then where sections begin, the
    upper ones first; what is left is filled evenly.
    """
    count = len(sections)
    if count <= k:
        return list(range(count))
    begins = [at for at in range(1, count) if sections[at] != sections[at - 1]]
    begins.sort(key=lambda at: (len(sections[at]), at))
    chosen = {0}
    upper = [at for at in begins if len(sections[at]) <= 1]
    for pool in (upper, begins):
        chosen.update(_evenly([at for at in pool if at not in chosen], k - len(chosen)))
    chosen.update(_evenly([at for at in range(count) if at not in chosen], k - len(chosen)))
    return sorted(chosen)


def overview_of(passages: Sequence[Passage], k: int) -> list[Passage]:
    """Return `k` of the passages of an overview, the opening first, spread like the whole."""
    places = spread_out([passage.heading_path for passage in passages], k)
    return [passages[place] for place in places]


def _evenly(places: list[int], wanted: int) -> list[int]:
    """Return `wanted` of the places, evenly spread over them in reading order."""
    places = sorted(places)
    if wanted <= 0 or len(places) <= wanted:
        return places[: max(0, wanted)]
    return [places[at * len(places) // wanted] for at in range(wanted)]
