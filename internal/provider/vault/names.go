// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// postgresFolder is where the files of a PostgreSQL client are.
const postgresFolder = "postgres"

// checkNames refuses files and variables that Valetkey writes itself, of which one would be lost without a word, and
// files that are folders of others, with which no Pod could start.
func checkNames(c *v1alpha1.VaultCapability) error {
	for _, file := range c.Files {
		if provider.Reserved(file.Path) || c.Postgres != nil && provider.Below(file.Path, postgresFolder) {
			return fmt.Errorf("file %s has the name of one that Valetkey writes itself: give it a folder of its own", file.Path)
		}
		for _, other := range c.Files {
			if other.Path != file.Path && provider.Below(other.Path, file.Path) {
				return fmt.Errorf("file %s is the folder of file %s: give one of them another name", file.Path, other.Path)
			}
		}
	}
	for _, variable := range c.Variables {
		own := strings.HasPrefix(variable.Name, ownVariables)
		if own || c.Postgres != nil && strings.HasPrefix(variable.Name, postgresVariables) {
			return fmt.Errorf("variable %s is one that Valetkey sets itself: give it another name", variable.Name)
		}
	}
	return nil
}

const (
	// ownVariables begins the names of Valetkey's own variables.
	ownVariables = "VALETKEY_"
	// postgresVariables begins the names of those that a PostgreSQL client goes by.
	postgresVariables = "PG"
)
