// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config carries what is shipped: the admission rules, so that the operator knows what a whole guard is, and the kinds, so
// that manifests can be validated without a cluster.
package config

import "embed"

// Admission holds the files of config/admission.
//
//go:embed admission/*.yaml
var Admission embed.FS

// Kinds holds the CustomResourceDefinitions of config/crd.
//
//go:embed crd/valetkey.dev_*.yaml
var Kinds embed.FS
