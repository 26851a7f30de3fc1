"""Samples in order: the plan, and the engines that follow it.

plan.py     which index comes when; the place (pure)
engine.py   what every engine does
local.py    renders in this process
ray.py      renders in Ray actors: cluster.py (Ray itself), pool.py and actor.py (the workers),
            flight.py (leases in flight, back in order)
board.py    how far a dataset has come, shared with its DataLoader's workers
"""
