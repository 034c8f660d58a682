// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
)

// TestExpansion_WhatBecomesTooLargeIsNotCompiled: a few characters that CEL makes gigabytes of, or takes minutes for.
func TestExpansion_WhatBecomesTooLargeIsNotCompiled(t *testing.T) {
	c := newCompiler(t)
	within := func(n int, macro string) string {
		return strings.Repeat("['x']."+macro+"(x, ", n) + "true" + strings.Repeat(")", n)
	}
	for name, expression := range map[string]string{
		"optMap":             "optional.of(request.repo)" + strings.Repeat(".optMap(x, x)", 120) + ".orValue('') == 'x'",
		"optFlatMap":         "optional.of(request.repo)" + strings.Repeat(".optFlatMap(x, optional.of(x))", 50) + ".orValue('') == 'x'",
		"exists":             within(100, "exists"),
		"exists_one":         within(90, "exists_one"),
		"map of a map":       "['x']" + strings.Repeat(".map(x, x)", 150) + ".size() == 1",
		"filter of a filter": "['x']" + strings.Repeat(".filter(x, true)", 120) + ".size() == 1",
	} {
		for _, policy := range []func(string) *Compiled{
			func(e string) *Compiled { p := deny("p"); p.Spec.When = when(e, "x"); return c.Compile(p) },
			func(e string) *Compiled { p := allow("p"); p.Spec.When = when(e, "x"); return c.Compile(p) },
		} {
			if err := policy(expression).Err(); err == nil || !strings.Contains(err.Error(), "call fewer of them") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, expression := range []string{
		"optional.of(request.repo).optMap(x, x).optMap(x, x).orValue('') == 'x'",
		"job.images.filter(i, i.startsWith('a')).map(i, i + 'b').exists(i, i == request.repo)",
		"job.images.all(i, ['a', 'b', 'c'].exists(a, i.startsWith(a) && !['d', 'e'].exists(b, i.endsWith(b))))",
		"request.repo in [" + strings.Repeat("'a', ", 400) + "'b']",
		strings.Repeat("(", 100) + "request.environment == 'a'" + strings.Repeat(" ? true : false)", 100),
	} {
		p := deny("p")
		p.Spec.When = when(expression, "x")
		if err := c.Compile(p).Err(); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
}
