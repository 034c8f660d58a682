// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle decides the one next step of a grant. It is pure: facts and the present time go in, a step comes out.
// Every step is safe to repeat, and no earlier condition is believed where the facts themselves can be seen.
package lifecycle
