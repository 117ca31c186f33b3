"""Looking into a widget without a page: its parts, its tabs, its buttons, its words."""

import ipywidgets as widgets


def everything_in(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything_in(child)


def only(explorer, kind):
    (found,) = (widget for widget in everything_in(explorer) if isinstance(widget, kind))
    return found


def tabs(explorer):
    (found,) = (w for w in everything_in(explorer) if isinstance(w, widgets.Tab))
    return found


def open_tab(explorer, title):
    found = tabs(explorer)
    found.selected_index = found.titles.index(title)
    return found.children[found.selected_index]


def button_of(widget, description):
    buttons = (w for w in everything_in(widget) if isinstance(w, widgets.Button))
    return next(button for button in buttons if button.description == description)


def text_in(widget):
    return "".join(w.value for w in everything_in(widget) if isinstance(w, widgets.HTML))
