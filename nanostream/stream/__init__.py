"""Samples in order: the plan, and the engines that follow it.

plan.py     which index comes when; the place (pure)
engine.py   what every engine does
local.py    renders in this process
ray.py      renders in Ray actors
  cluster.py  Ray itself: joined, or started here and removed again (reaper.py, where this process is killed)
  actor.py    the worker's side; worker.py and crew.py are the consumer's
  pool.py     the workers of one consumer: warmed, asked, watched (health.py)
  keeper.py   the workers of several consumers, as many as they need (scale.py); roster.py is the consumer's side
  flight.py   leases in flight (lease.py), asked again or of a second worker, handed on in order
board.py    how far a dataset has come, shared with its DataLoader's workers
"""
