"""From numbers to pictures: Mitsuba and Dr.Jit live here, and nowhere else.

In the order of the light: `backend` chooses the variant, `geometry` holds the triangles, `outline` finds which
particle each pixel shows, `shade` follows camera and occlusion rays, `principled` shades a point, `particles` puts
them together, `detector` makes the 8-bit picture. `published` is the published method's own scene.
"""
