// What: keeps pools safe when the host process forks (its own fork, or the birth of a zygote). [os-mechanisms.md section 7]
//
// Before a fork every pool's mutex is taken (pthread_atfork), so that the child never inherits one half-held by another thread; in the
// child each pool closes its descriptors and is marked: it answers "ended" to everything and signals nobody. Engines register here.
#pragma once

#include <memory>

#include "pool/engine.hpp"

namespace holdfast::pool {

/// Called by Engine::create and ~Engine. The hooks are installed once, at the first call.
void guard_forks_of(Engine& engine);
void unguard_forks_of(Engine& engine);

}  // namespace holdfast::pool
