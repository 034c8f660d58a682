// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ambient knows where clients look for a credential by themselves: in which variables and in which files, as
// their own documents say. A container can hold such variables beside the ones that a grant delivers: a Job sets them,
// or an image, or a webhook that gives Pods the role of their ServiceAccount. The client may then use that credential
// instead of the granted one, outside of the grant's scope and of its audit. It is pure: it reads no environment and no
// file.
package ambient

import (
	"slices"
	"strings"
)

// Client is a program or a family of libraries that finds its credential by itself.
type Client struct {
	// Name of the client, for messages.
	Name string
	// Reads are the variables that the client reads: a name, or the beginning of many names with * behind it. A
	// variable that matches, and that is neither granted nor harmless, can make the client use another credential than
	// the granted one.
	Reads []string
	// Harmless are those of them that choose no credential: regions, addresses, time limits, forms of output. They have
	// the same form.
	Harmless []string
	// Files, below the home folder, are those that the client prefers to a credential that a grant delivers.
	Files []string
}

// Conflict is a variable that is set, or a file, from which a client could take another credential than the granted
// one.
type Conflict struct {
	// Client is the name of the client.
	Client string
	// Name of the variable, or path of the file below the home folder.
	Name string
}

// uses reports whether the client reads its credential from one of the granted variables. Harmless ones do not count: a
// grant of a database may say in which region it is.
func (c *Client) uses(granted []string) bool { return slices.ContainsFunc(granted, c.chooses) }

// chooses reports whether a variable chooses the client's credential, or is not known to be harmless.
func (c *Client) chooses(variable string) bool {
	return matches(c.Reads, variable) && !matches(c.Harmless, variable)
}

func matches(forms []string, name string) bool {
	return slices.ContainsFunc(forms, func(form string) bool {
		beginning, many := strings.CutSuffix(form, "*")
		return name == form || many && strings.HasPrefix(name, beginning)
	})
}

// Variables returns which of the variables that are set can make a client use another credential than the granted one.
// granted are the names of all variables that the grant delivers, those that only point at files included; set are
// names too, and may include granted ones. Clients that the grant delivers nothing to are left alone: a step that
// uploads to AWS may read from GitHub with a token of its own.
func Variables(granted, set []string) []Conflict {
	var found []Conflict
	for _, c := range Clients() {
		if !c.uses(granted) {
			continue
		}
		for _, name := range set {
			if c.chooses(name) && !slices.Contains(granted, name) {
				found = append(found, Conflict{Client: c.Name, Name: name})
			}
		}
	}
	return found
}

// Files returns the files, below the home folder, that a client of what is granted prefers to it. Whether they exist is
// the caller's to see.
func Files(granted []string) []Conflict {
	var found []Conflict
	for _, c := range Clients() {
		if !c.uses(granted) {
			continue
		}
		for _, file := range c.Files {
			found = append(found, Conflict{Client: c.Name, Name: file})
		}
	}
	return found
}
