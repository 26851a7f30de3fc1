"""Fitting a texture to pictures that nobody annotated, and measuring how real the result looks.

What is learned: how a picture looks, never what is in it. A small map (`effect_network`) takes a random latent to the
effects of one picture (`texture.effects`): brightness and its spread over particles, rims, film and grain of the
ground, and the detector's blur, gain and noise. Pictures differ as latents do. Its teachers are a discriminator, which
tells patches of real pictures from rendered ones (`discriminator`), and the distance of both populations' statistics
(`statistics`); gradients run back through the detector and the renderer.

What is not learned: shapes, sizes and how particles lie. They are the scene's, which a person names or `prior`
estimates from the pictures; a scene that is wrong makes a texture that makes up for it. Effects of which the pictures
tell nothing stay near a generic micrograph, as a Kullback-Leibler prior has it.

How real the result is: `realism` says what each measure sees and what it is blind to. None of them says how well a
network that trains on the pictures will segment real ones; that is measured on annotated pictures alone.
"""
