// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policytest tells, without a cluster, what the policies of a repository decide.
//
//   - [Load] reads manifests as the API server would: the same schemas, defaults and rules.
//   - [Catalogue.Test] decides the cases of test files with the operator's own evaluator, and says which policies no case is about.
//   - [Catalogue.Lint] finds what is valid and yet hardly meant.
package policytest
