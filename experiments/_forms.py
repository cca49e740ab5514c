"""What the pages about forms of applying a mask share."""

FORMS = {
    "flaxmask": None,
    "minus infinity": "minus_infinity",
    "-1e9 added": "added_1e9",
    "renormalised": "renormalised",
    "multiplied": "multiplied",
    "literal": "literal",
    "memory": "memory",
    "no mask": "none",
}
WRONG = ("multiplied", "literal", "memory", "no mask")
"""Forms that leak or drift."""
BESIDE = {form: {"model.mask_form": FORMS[form]} for form in ("flaxmask", *WRONG)}
"""Ours beside these."""
GRID = {
    f"{form}, {layout}": {"model.mask_form": name, "data.layout": layout}
    for form, name in FORMS.items()
    for layout in ("static", "dynamic", "bucketed", "packed")
}
"""Every form in every layout."""

NOTES = (
    "renormalised: what is hidden goes out by a division, and comes back in its rounding: leaks of the last bit",
    "minus infinity: a padded query sees nothing, its NaN reaches the loss through a weight of 0; in float16 "
    "-1e9 is minus infinity",
    "memory multiplied: the ids of what is hidden are not read, but how many there are: no leak, and drift",
)
