"""The lessons as a folder of static files that any web server can hand out: `python3 lab.py site`.

JupyterLite with Pyodide, Python in the browser. Everything is in the folder; a browser that opens it asks
nobody else for anything.
"""


class SiteError(Exception):
    """Why the site can't be built, in one sentence."""
