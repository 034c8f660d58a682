// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package attacks tries, by real identities on a real API server with the shipped manifests, everything that must be refused, and
// everything that must be left alone. The mutation run takes out each admission rule in turn and sees a row miss it.
package attacks
