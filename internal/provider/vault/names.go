// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"fmt"
	"net"
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

// checkHost refuses a database's name that a Pod looks for in its own namespace first, where whoever makes Services and
// Pods answers for it, unless the server has to prove whose it is.
func checkHost(p *v1alpha1.VaultPostgres) error {
	if p == nil || p.SSLMode == verifiedServer || net.ParseIP(p.Host) != nil {
		return nil
	}
	name := strings.ToLower(p.Host)
	last := name[strings.LastIndex(name, ".")+1:]
	if !strings.ContainsAny(last[:1], "abcdefghijklmnopqrstuvwxyz") {
		return fmt.Errorf("postgres.host %s is an address in a spelling that others read otherwise: "+
			"write it in four numbers, or have the server prove itself (sslMode: %s)", p.Host, verifiedServer)
	}
	if name == "localhost" || strings.Count(name, ".") > 1 {
		return nil
	}
	return fmt.Errorf("postgres.host %s is looked for in the namespace of the Job first, where others answer for it: "+
		"write the whole name (a Service's is NAME.NAMESPACE.svc), or have the server prove itself (sslMode: %s)", p.Host, verifiedServer)
}

const (
	// verifiedServer is the sslMode by which a client of PostgreSQL compares the server's name with its certificate.
	verifiedServer = "verify-full"
	// ownVariables begins the names of Valetkey's own variables.
	ownVariables = "VALETKEY_"
	// postgresVariables begins the names of those that a PostgreSQL client goes by.
	postgresVariables = "PG"
)
