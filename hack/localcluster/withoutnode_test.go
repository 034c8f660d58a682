// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration && !e2e

package localcluster

// withNode says whether the clusters whose owner is killed have a node.
const withNode = false
