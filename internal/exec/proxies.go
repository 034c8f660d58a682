// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"slices"
	"strings"
)

// loopback is the address at which the token service for Google's libraries listens.
const loopback = "127.0.0.1"

// reachedDirectly returns the environment changed so that no client sends what it has for the loopback address to a
// proxy: HTTP_PROXY and its like name one for Google's libraries, too, and the proxy would be sent the token.
//
// Go, .NET and Node read NO_PROXY first; Python, curl, Ruby and PHP read no_proxy first; Python reads any mix of small
// and capital letters, some libraries of Node prefer npm_config_no_proxy, and gRPC no_grpc_proxy. A client reads only
// the first that it finds: the address is added to each that is there, and to the two usual ones. A list that is missing
// is made of the other one, for it would hide that from clients that read it first.
func reachedDirectly(environment []string) []string {
	const capital, small = "NO_PROXY", "no_proxy"
	environment = slices.Clone(environment)
	lists := map[string]string{}
	for i, entry := range environment {
		name, list, _ := strings.Cut(entry, "=")
		plain := strings.ToLower(name)
		if strings.HasSuffix(plain, small) || strings.HasSuffix(plain, "noproxy") || plain == "no_grpc_proxy" {
			lists[name] = list
			environment[i] = name + "=" + withLoopback(list)
		}
	}
	for name, other := range map[string]string{capital: small, small: capital} {
		if _, found := lists[name]; !found {
			environment = append(environment, name+"="+withLoopback(lists[other]))
		}
	}
	return environment
}

// withLoopback adds the loopback address to a list. An asterisk alone already excepts everything, and only alone.
func withLoopback(list string) string {
	switch trimmed := strings.TrimSpace(list); trimmed {
	case "":
		return loopback
	case "*":
		return list
	default:
		return trimmed + "," + loopback
	}
}
