// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration takes the operator, as a process of its own, through whole journeys against a real API server and a real STS.
// Only the node is played: nothing runs in the containers.
package integration
