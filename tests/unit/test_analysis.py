"""Words of many languages to index terms."""

import pytest

from ragecho.library.analysis import algorithm_of, query_terms_of, terms_of


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "the libraries", "a library"),
        ("de", "die Kündigungsfristen", "Kündigungsfrist"),
        ("fr", "des réunions", "réunion"),
        ("es", "bibliotecas", "biblioteca"),
        ("ru", "документы", "документ"),
        ("fi", "kirjastoissa", "kirjasto"),
        ("ar", "المكتبات", "مكتبة"),
        ("hi", "किताबों", "किताब"),
        ("ja", "Libraries", "library"),
    ],
)
def test_forms_of_a_word_are_one_term_in_its_language(language: str, one: str, other: str) -> None:
    algorithm = algorithm_of(language)
    assert terms_of(one, algorithm) == terms_of(other, algorithm) != []


@pytest.mark.parametrize("text", ["会議は水曜日です", "การประชุมวันพุธ", "회의는수요일입니다", "ສະບາຍດີ"])
def test_scripts_without_spaces_become_overlapping_pairs(text: str) -> None:
    assert terms_of(text) == [text[index : index + 2] for index in range(len(text) - 1)]


def test_vowel_signs_belong_to_their_word() -> None:
    assert len(terms_of("हिन्दी में", algorithm_of("hi"))) == 2
    assert len(terms_of("ภาษา")) == 3
    assert len(terms_of("שָׁלוֹם")) == 1


def test_a_question_is_stemmed_in_every_language_of_the_workspace() -> None:
    terms = query_terms_of("Kündigungsfristen libraries", ["english", "german"])
    assert set(terms_of("Kündigungsfrist", "german")) <= set(terms)
    assert set(terms_of("library", "english")) <= set(terms)


def test_stop_words_count_only_when_there_is_nothing_else() -> None:
    assert terms_of("der die das", "german") == []
    assert query_terms_of("to be or not to be") != {}
    assert "to" not in query_terms_of("to Paris")
