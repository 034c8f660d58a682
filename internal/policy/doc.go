// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy decides whether a request may have a capability, and says what people decide on.
//
// It is pure: facts and an instant go in, a value comes out. It has no client, no clock and no log, so that every answer
// can be told from its facts alone. Whoever calls it observes first and acts afterwards.
//
//   - [Compiler] turns a CapabilityPolicy into a [Compiled] one, once per generation.
//   - [Evaluate] decides on [Facts], and [Explain] says clause by clause what every policy makes of them.
//   - [CheckJob] says why a Job may not hold a credential.
//   - [NewReview], [Digest] and [ConfigMapNames] make what is reviewed.
package policy
