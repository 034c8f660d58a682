// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command stubborn is a step that does not end by itself.
//
//	stubborn stay NAME    ignore what asks it to end, accept connections on port 8099 and answer none
//	stubborn end          end with an error
//	stubborn print FILE   print a file
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	switch os.Args[1] {
	case "stay":
		signal.Ignore(syscall.SIGTERM, os.Interrupt)
		silent, err := net.Listen("tcp", ":8099")
		if err != nil {
			silent, err = net.Listen("tcp", ":0") // Another process of the Pod has the port.
		}
		var kept []net.Conn
		for err == nil {
			var c net.Conn
			if c, err = silent.Accept(); err == nil {
				kept = append(kept, c)
			}
		}
		fmt.Println(err, len(kept))
		os.Exit(1)
	case "print":
		text, err := os.ReadFile(os.Args[2])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Print(string(text))
	default:
		os.Exit(1)
	}
}
