// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/internal/ambient"
)

// environment makes the command's environment: the container's, without what would make a client of the granted
// credential use another one, and with what the grant delivers. It also returns what it left out. Files that such a
// client would prefer cannot be left out, and are an error.
func (h *held) environment(container []string) (command []string, left []ambient.Conflict, err error) {
	granted := names(h.variables)
	left = ambient.Variables(granted, names(container))
	unwanted := func(entry string) bool {
		return slices.ContainsFunc(left, func(c ambient.Conflict) bool { return c.Name == nameOf(entry) })
	}
	if err := noFiles(ambient.Files(granted), container); err != nil {
		return nil, nil, err
	}
	// Of a variable that is there twice, the last one counts.
	return append(slices.DeleteFunc(slices.Clone(container), unwanted), h.variables...), left, nil
}

// noFiles refuses files below the home folder that a client would prefer to the granted credential.
func noFiles(files []ambient.Conflict, container []string) error {
	home := homeOf(container)
	if home == "" {
		return nil
	}
	for _, file := range files {
		place := filepath.Join(home, file.Name)
		if _, err := os.Lstat(place); err == nil {
			return fmt.Errorf(
				"there is a file %s, which %s would use instead of the granted credential; remove it, or set another HOME",
				place,
				file.Client,
			)
		}
	}
	return nil
}

// homeOf is where clients look for a home folder's files: where HOME says, or, if it says nothing, where the list of
// users does.
func homeOf(container []string) string {
	home := ""
	for _, entry := range container {
		if value, found := strings.CutPrefix(entry, "HOME="); found {
			home = value
		}
	}
	if home != "" {
		return home
	}
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		return u.HomeDir
	}
	return "" // a user that is in no list has none
}

// told is a line about what was left out, for whoever wonders where it went. It has names, and no values.
func told(left []ambient.Conflict) string {
	clients := map[string][]string{}
	for _, c := range left {
		if !slices.Contains(clients[c.Client], c.Name) {
			clients[c.Client] = append(clients[c.Client], c.Name)
		}
	}
	var lines strings.Builder
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		slices.Sort(clients[client])
		fmt.Fprintf(
			&lines,
			"valetkey-exec: %s are not passed on to the command: %s could use them instead of the granted credential\n",
			strings.Join(clients[client], ", "),
			client,
		)
	}
	return lines.String()
}

func names(environment []string) []string {
	all := make([]string, 0, len(environment))
	for _, entry := range environment {
		all = append(all, nameOf(entry))
	}
	return all
}

func nameOf(entry string) string {
	name, _, _ := strings.Cut(entry, "=")
	return name
}
