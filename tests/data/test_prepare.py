"""Preparing a corpus from a folder and from mirrors, and what is said when that cannot be done."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading

import pytest

from lsseq.data.corpus import Corpus, Published, Source, cut_at, whole_files
from lsseq.data.prepare import find_prepared, prepare, prepared_folder
from lsseq.data.report import prepared_lines
from lsseq.errors import RequestError, RunError

FILES = {"a.train": b"the cat\nthe dog\n", "a.valid": b"a cat\n", "a.test": b"a dog\n"}


def source(name: str, urls: tuple[str, ...] = (), **changes) -> Source:
    content = FILES[name]
    return Source(name, **{"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changes, urls=urls)


def corpus(*urls: str, **changes) -> Corpus:
    """Three files; each address stands for a folder or an archive of all of them."""
    given = {
        "name": "small",
        "description": "d",
        "licence": "l",
        "citation": "c",
        "prepare": whole_files("a.train", "a.valid", "a.test"),
        "files": tuple(source(name, tuple(url + name for url in urls)) for name in FILES),
        "published": (Published("word", 6, 3, 3, types=4), Published("char", 16, 6, 6)),
    }
    return Corpus(**given | changes)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "files"
    made.mkdir()
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    return made


pytestmark = pytest.mark.usefixtures("own_data")


def test_a_folder_gives_the_exact_bytes_and_the_counts(folder, own_data):
    prepared = prepare(corpus(), folder)
    assert prepared.folder == own_data / "corpora" / "small"
    for split in ("train", "valid", "test"):
        assert (prepared.folder / f"{split}.txt").read_bytes() == FILES[f"a.{split}"]
    facts = json.loads((prepared.folder / "corpus.json").read_text())
    assert facts["splits"]["train"] == {
        "characters": 16,
        "bytes": 16,
        "words": 6,
        "lines": 2,
        "sha256": hashlib.sha256(FILES["a.train"]).hexdigest(),
    }
    assert facts["types"] == {"char": 10, "byte": 10, "word": 4}
    assert all(comparison.equal for comparison in prepared.comparisons())
    assert [path.name for path in prepared.folder.parent.iterdir()] == ["small"]


def test_the_report_says_whether_the_counts_are_equal(folder):
    lines = prepared_lines(prepare(corpus(), folder))
    assert "  published word counts: 6 / 3 / 3, 4 types: equal" in lines
    assert "  published char counts: 16 / 6 / 6: equal" in lines


def test_compressed_files_in_a_subfolder_are_found(folder, tmp_path):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for name, content in FILES.items():
        (inner / f"{name}.gz").write_bytes(gzip.compress(content))
    assert prepare(corpus(), tmp_path / "outer").texts["valid"].size() == 6


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in FILES.items():
            info = tarfile.TarInfo(f"./deep/{name}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_the_archive_itself_is_taken_from_a_folder(tmp_path):
    (tmp_path / "all.tgz").write_bytes(archive())
    assert prepare(corpus("http://nowhere/all.tgz#./deep/"), tmp_path).texts["train"].size() == 16


def test_a_changed_byte_is_refused_by_name(folder):
    (folder / "a.valid").write_bytes(b"a cot\n")
    with pytest.raises(RequestError) as caught:
        prepare(corpus(), folder)
    assert str(caught.value) == (
        "error: a.valid is not the file that was expected: its sum is "
        f"sha256:{hashlib.sha256(b'a cot' + bytes([10])).hexdigest()}, "
        f"not sha256:{hashlib.sha256(FILES['a.valid']).hexdigest()}\n"
        f"  --> {folder / 'a.valid'}\n"
        "hint: an unchanged copy is needed, so that figures can be compared"
    )
    assert not prepared_folder("small").exists()


def test_all_wrong_files_are_named_at_once(folder):
    (folder / "a.valid").write_bytes(b"longer than before\n")
    (folder / "a.test").unlink()
    (folder / "a.test.gz").write_bytes(gzip.compress(b"a dug\n")[:-4])
    with pytest.raises(RequestError) as caught:
        prepare(corpus(), folder)
    first, second = (problem.message for problem in caught.value.problems)
    assert first.startswith("a.valid is not the file that was expected: it has 19 bytes, not 6 (its sum is sha256:")
    assert second.startswith("a.test is not the file that was expected: the gzip file is damaged")


def test_a_wrong_folder_says_what_is_expected(folder, tmp_path):
    (folder / "a.test").unlink()
    with pytest.raises(RequestError) as caught:
        prepare(corpus(), folder)
    assert caught.value.message == f"{folder} lacks a.test of the corpus `small`"
    assert caught.value.hint is not None
    assert caught.value.hint.splitlines() == [
        "put these files into a folder (plain or .gz) and run `lsseq data prepare small --from FOLDER`",
        *(f"  {name}  {len(c)} bytes  sha256:{hashlib.sha256(c).hexdigest()}" for name, c in FILES.items()),
    ]
    with pytest.raises(RequestError, match=r"there is no folder .*nowhere"):
        prepare(corpus(), tmp_path / "nowhere")


def test_other_files_will_do_instead(folder):
    (folder / "other").write_bytes(b"one two three four")
    other = corpus(files=(Source("missing"),), instead=(Source("other"),), prepare=cut_at("other", 8, 14), published=())
    prepared = prepare(other, folder)
    assert (prepared.folder / "valid.txt").read_bytes() == b"three "
    assert prepared.facts["files"] == [{"name": "other", "size": None, "checksum": None}]


def test_counts_that_differ_are_a_failure(folder):
    with pytest.raises(RunError, match="the counts of `small` are not those published: types word: 4, published 5"):
        prepare(corpus(published=(Published("word", 6, 3, 3, types=5),)), folder)
    assert not prepared_folder("small").exists()


def test_a_prepared_corpus_is_left_as_it_is(folder):
    first = prepare(corpus(), folder)
    before = (first.folder / "train.txt").stat().st_mtime_ns
    assert prepare(corpus()).facts == first.facts
    assert prepare(corpus(), folder).facts == first.facts
    assert (first.folder / "train.txt").stat().st_mtime_ns == before


def test_a_folder_is_verified_although_the_corpus_is_prepared(folder):
    prepare(corpus(), folder)
    (folder / "a.train").write_bytes(b"the cat\nthe dig\n")
    with pytest.raises(RequestError, match=r"a\.train is not the file that was expected"):
        prepare(corpus(), folder)
    assert find_prepared(corpus()) is not None


def test_damage_and_another_version_are_seen(folder):
    prepared = prepare(corpus(), folder)
    assert find_prepared(corpus(version=2)) is None
    (prepared.folder / "train.txt").write_bytes(b"the cat\nthe dig\n")
    assert find_prepared(corpus()) is None
    prepare(corpus(), folder)
    assert (prepared.folder / "train.txt").read_bytes() == FILES["a.train"]


def test_several_at_once(folder):
    failures: list[Exception] = []

    def run() -> None:
        try:
            assert prepare(corpus(), folder).facts["types"]["word"] == 4
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert find_prepared(corpus()) is not None
    assert [path.name for path in prepared_folder("small").parent.iterdir()] == ["small"]


def test_files_are_fetched(site, own_data):
    site.files = {f"/{name}": content for name, content in FILES.items()}
    assert all(c.equal for c in prepare(corpus(site.url("/"))).comparisons())
    assert not (own_data / "downloads" / "small").exists()


def test_files_are_fetched_compressed(site):
    site.files = {f"/{name}.gz": gzip.compress(content) for name, content in FILES.items()}
    packed = tuple(source(name, (site.url(f"/{name}.gz"),)) for name in FILES)
    assert prepare(corpus(files=packed)).texts["train"].size() == 16


def test_a_damaged_gz_is_not_met_again(site):
    site.files = {f"/{name}.gz": gzip.compress(content)[:-6] for name, content in FILES.items()}
    packed = tuple(source(name, (site.url(f"/{name}.gz"),)) for name in FILES)
    with pytest.raises(RunError, match=r"a\.train could not be fetched: the gzip file is damaged"):
        prepare(corpus(files=packed))
    site.files = {f"/{name}.gz": gzip.compress(content) for name, content in FILES.items()}
    assert prepare(corpus(files=packed)).texts["test"].size() == 6


def test_an_archive_is_fetched_once_for_all_its_members(site):
    site.files = {"/all.tgz": archive()}
    prepare(corpus(site.url("/all.tgz#./deep/")))
    assert [path for path, _ in site.asked] == ["/all.tgz"]


def test_the_second_mirror_is_taken_where_the_first_lacks_the_file(site):
    site.files = {f"/good/{name}": content for name, content in FILES.items()}
    prepare(corpus(site.url("/bad/"), site.url("/good/")))
    assert site.asked[:2] == [("/bad/a.train", None), ("/good/a.train", None)]


def test_the_second_mirror_is_taken_where_the_first_has_another_file(site):
    site.files = {f"/good/{name}": content for name, content in FILES.items()}
    site.files |= {f"/bad/{name}": content.upper() for name, content in FILES.items()}
    assert prepare(corpus(site.url("/bad/"), site.url("/good/"))).texts["train"].size() == 16


def test_when_nothing_can_be_fetched_the_way_out_is_told(site):
    site.files = {"/bad/a.train": b"the cat\nthe dig\n"}
    with pytest.raises(RunError) as caught:
        prepare(corpus(site.url("/bad/"), site.url("/none/")))
    changed = hashlib.sha256(site.files["/bad/a.train"]).hexdigest()
    right = hashlib.sha256(FILES["a.train"]).hexdigest()
    lines = str(caught.value).splitlines()
    assert lines[:5] == [
        f"error: a.train could not be fetched: its sum is sha256:{changed}, not sha256:{right}",
        f"  --> {site.url('/bad/a.train')}",
        "error: a.train could not be fetched: HTTP 404 Not Found",
        f"  --> {site.url('/none/a.train')}",
        "hint: without a network, put these files into a folder (plain or .gz) and run "
        "`lsseq data prepare small --from FOLDER`",
    ]
    assert lines[5:] == [
        f"  {name}  {len(c)} bytes  sha256:{hashlib.sha256(c).hexdigest()}" for name, c in FILES.items()
    ]
    assert caught.value.exit_code == 1
    assert not prepared_folder("small").exists()


def test_a_wrong_download_is_not_met_again(site):
    site.files = {f"/{name}": content.upper() for name, content in FILES.items()}
    with pytest.raises(RunError):
        prepare(corpus(site.url("/")))
    site.files = {f"/{name}": content for name, content in FILES.items()}
    assert prepare(corpus(site.url("/"))).texts["train"].size() == 16
