"""The read side: search by arc, REST, live rows, and the page, as one process over the lake and the topics.

    config ─▶ service ─▶ access (who may see what) ─▶ api ─▶ store (the lake, sorted for reading)
                                                   ├▶ search (the index of arcs)
                                                   ├▶ live (rows of running media, the microphone)
                                                   └▶ page (what the browser loads)

Nothing imports this folder but the command line.
"""
