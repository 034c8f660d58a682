// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/url"
	"slices"
	"strings"
)

// Server is the one spelling of the URL of a server: its scheme and host in lower case, no port that the scheme means
// anyway, and no slash at the end. What is more than a scheme, a host, a port and a path stays as it is, and so is
// another server than all that are allowed.
func Server(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || u.RawPath != "" {
		return text
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return text
	}
	host := strings.ToLower(u.Host)
	if port, known := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]; known {
		host = strings.TrimSuffix(host, port)
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.Path, "/")
}

// IsOneOf reports whether a URL names one of the servers that are allowed, however either is written.
func IsOneOf(allowed []string, text string) bool {
	return slices.ContainsFunc(allowed, func(one string) bool { return Server(one) == Server(text) })
}
