// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command thief lies in an image under the name of valetkey-exec, and says that it ran.
package main

import "fmt"

func main() { fmt.Println("another program ran under the name of valetkey-exec") }
