"""Sweeps: many recipes tried inside limits of memory and time, and the best of them compared with the untuned one."""
