"""The lessons as a folder of static files that any web server can serve: `python3 lab.py site`.

JupyterLite with Pyodide, Python in the browser. Everything is in the folder; a browser that opens it asks
no other machine for anything.
"""


class SiteError(Exception):
    """Why the site can't be built, in one sentence."""
