"""TaskMet beside public libraries: rows of a table, how they are timed, how they are written down.

``registry`` says what a row is, ``rows_*`` declare them, ``measure`` times one, ``probes`` measures the machine,
``worker`` runs rows in a process of its own, ``report`` makes tables of the results.
"""
