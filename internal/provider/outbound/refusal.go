// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"fmt"
	"net/http"
	"slices"
)

// refusing are the statuses by which servers refuse a request before they issue anything. Those that stand for a lost
// race or for too little time (408, 409, 425), and all of a server that failed, are not among them: something can have
// been issued before.
var refusing = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
	http.StatusTooManyRequests}

// Refuses reports whether an answer proves that the server issued nothing. Its status has to be one by which servers
// refuse a request before they issue anything, and its body an error in the server's own form, as inForm reports. A
// load balancer, a proxy or a gateway can answer everything else after the server has issued, or answer an empty body
// or a page of its own with any status.
func Refuses(status int, inForm bool) bool { return inForm && slices.Contains(refusing, status) }

// Unproven says of an answer that failed, and that [Refuses] does not take for a refusal, what to look at. No word of
// the answer is repeated.
func Unproven(server string, status int, inForm bool) string {
	if inForm {
		return fmt.Sprintf("%s failed: status %d", server, status)
	}
	return fmt.Sprintf("status %d was answered, and not in the form of %s's errors, so it is not known what %s did; "+
		"see what stands between the operator and %s", status, server, server, server)
}
