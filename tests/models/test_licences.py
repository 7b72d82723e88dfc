from moodstream.models import licences
from moodstream.models.corpora import CORPORA
from moodstream.models.registry import FOLDER, installed


def test_every_corpus_has_a_licence() -> None:
    assert set(licences.LICENCES) == set(CORPORA)


def test_the_strictest_corpus_decides() -> None:
    strict = licences.weights_licence(["ravdess", "tava", "emodb"])
    assert strict.startswith(
        "weights: non-commercial research; share-alike for ravdess, tava; unknown for emodb"
    )
    assert "cleared" in licences.weights_licence(["tava", "emodb"])
    assert licences.weights_licence(["tava"]).startswith(
        "weights: commercial use is not forbidden; share-alike"
    )
    assert "your own" in licences.weights_licence(["mine"])
    assert "non-commercial" in licences.weights_licence(["mine", "urdu"])


def test_the_clean_corpora() -> None:
    assert licences.clean(["ravdess", "tava", "emodb", "ami_mini", "mine"]) == ["tava", "ami_mini"]


def test_what_is_installed_says_what_it_comes_from() -> None:
    for card in installed():
        text = (FOLDER / card.name / licences.FILE).read_text()
        assert text.startswith(f"The weights of {card.name} {card.version}\n")
        assert "research" in text.splitlines()[2]
        assert "wheel" not in text


def test_the_notice_is_one_line() -> None:
    said = licences.notice({"speech": "weights: non-commercial research", "mine": "weights: as you like"})
    assert said.count("\n") == 0
    assert "speech" in said
    assert "mine" not in said
    assert "non-commercial" not in licences.notice({"mine": "weights: as you like"})
