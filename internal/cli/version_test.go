// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
)

func TestItTellsItsVersionWithoutACluster(t *testing.T) {
	if out := at(t).anywhere("--version").exits(0).stdout; !strings.HasPrefix(out, "kubectl-valetkey ") || !strings.Contains(out, ", commit ") {
		t.Error(out)
	}
}
