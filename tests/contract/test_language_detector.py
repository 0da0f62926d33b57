"""The language detector on sentences of many languages, and on what is no language."""

import pytest

from ragecho.engines.language import StatisticalDetector
from ragecho.ports.language_detector import LanguageDetector


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return StatisticalDetector()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The meeting takes place on Wednesday in the large hall of the library."),
        ("de", "Die Besprechung findet am Mittwoch im großen Saal der Bibliothek statt."),
        ("fr", "La réunion aura lieu mercredi dans la grande salle de la bibliothèque."),
        ("es", "La reunión tendrá lugar el miércoles en la sala grande de la biblioteca."),
        ("it", "La riunione si terrà mercoledì nella sala grande della biblioteca."),
        ("pt", "A reunião será realizada na quarta-feira no grande salão da biblioteca."),
        ("nl", "De vergadering vindt woensdag plaats in de grote zaal van de bibliotheek."),
        ("pl", "Spotkanie odbędzie się w środę w dużej sali biblioteki."),
        ("ru", "Встреча состоится в среду в большом зале библиотеки."),
        ("ja", "会議は水曜日に図書館の大ホールで開催されます。参加者は事前に登録してください。"),
        ("zh", "会议将于星期三在图书馆的大厅举行。请参加者提前报名,并携带有效证件。"),
        ("th", "การประชุมจะจัดขึ้นในวันพุธที่ห้องโถงใหญ่ของห้องสมุด"),
        ("ar", "سيعقد الاجتماع يوم الأربعاء في القاعة الكبرى بالمكتبة."),
        ("ko", "회의는 수요일에 도서관의 큰 홀에서 열립니다. 참가자는 미리 등록해 주세요."),
    ],
)
def test_a_sentence_is_recognised(detector: LanguageDetector, language: str, text: str) -> None:
    assert detector.detect(text) == language


@pytest.mark.parametrize("text", ["", "1187", "OK", "SL-40", "x = 3; y = 4", "12.50 €"])
def test_what_is_no_sentence_is_not_guessed_at(detector: LanguageDetector, text: str) -> None:
    assert detector.detect(text) is None
