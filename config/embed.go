// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config carries the shipped admission rules inside the operator, so that it knows what a whole guard is.
package config

import "embed"

// Admission holds the files of config/admission.
//
//go:embed admission/*.yaml
var Admission embed.FS
