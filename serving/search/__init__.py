"""Search by arc: an index of the curves of a lake, and the questions it answers.

    lake ─▶ build ─▶ folder (shards of entries) ─▶ index: rough ─▶ closer ─▶ exact ─▶ answers

What each question means is in docs/search.md.
"""
