"""Puts holdfast.Pool in the place of multiprocessing.Pool in each interpreter that runs with this folder on PYTHONPATH.

suite.py runs that way, and with it all that CPython's tests start: scripts, managers, clean workers. Nobody else imports this file.
"""

import multiprocessing
import multiprocessing.context
import multiprocessing.managers
import multiprocessing.pool

import holdfast


def pool_of_context(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
    """BaseContext.Pool with the other class."""
    return holdfast.Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())


multiprocessing.context.BaseContext.Pool = pool_of_context
multiprocessing.Pool = multiprocessing.context._default_context.Pool  # bound when the package was imported
multiprocessing.pool.Pool = holdfast.Pool
multiprocessing.managers.SyncManager.register("Pool", holdfast.Pool, multiprocessing.managers.PoolProxy)
