package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/bson"
)

// A relay stands between the clients and FerretDB and gives them what MongoDB promises and FerretDB does not:
// a command sees no other command of its database half done (FerretDB finds and writes a document in two steps, so
// updates at the same time would lose changes), every update of a bulk is answered for itself, indexes that are there
// can be asked for again, a change that breaks a unique index is a duplicate key error, and an unacknowledged write has
// no reply.
type relay struct {
	address string // of FerretDB

	mu    sync.Mutex
	turns map[string]*sync.Mutex // by database
}

func newRelay(address string) *relay {
	return &relay{address: address, turns: map[string]*sync.Mutex{}}
}

func (r *relay) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "mongo-server:", err)
			os.Exit(1)
		}
		go r.serve(client)
	}
}

// serve answers one client until it, or FerretDB, closes its connection.
func (r *relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mongo-server:", err)
		return
	}
	defer server.Close()

	for {
		request, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := r.answer(request, func(m message) (message, error) { return exchange(server, m) })
		if err != nil {
			return
		}
		if request.wantsReply() {
			if _, err = client.Write(reply); err != nil {
				return
			}
		}
	}
}

// ask sends one message to FerretDB and returns what it replies.
type ask func(message) (message, error)

func exchange(server net.Conn, m message) (message, error) {
	if _, err := server.Write(m); err != nil {
		return nil, err
	}
	return readMessage(server)
}

// answer carries out a command when it is its turn.
func (r *relay) answer(request message, ferret ask) (message, error) {
	if !request.isCommand() {
		return ferret(request)
	}
	command, err := request.command()
	if err != nil {
		return nil, err
	}
	turn := r.turn(command.database)
	turn.Lock()
	defer turn.Unlock()

	if command.name == "update" {
		return update(request, command, ferret)
	}
	if command.name == "createIndexes" {
		return createIndexes(request, command, ferret)
	}
	reply, err := ferret(request)
	if err != nil {
		return nil, err
	}
	return honest(request, reply)
}

func (r *relay) turn(database string) *sync.Mutex {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turns[database] == nil {
		r.turns[database] = &sync.Mutex{}
	}
	return r.turns[database]
}

const (
	duplicateKey     = "E11000 duplicate key error"
	duplicateKeyCode = int32(11000)
)

// honest returns the reply, but a duplicate key error in the place of an internal one that means it.
func honest(request, reply message) (message, error) {
	if result, err := reply.document(); err != nil || !breaksUnique(result) {
		return reply, nil
	}
	return newMessage(request.id(), bson.D{
		{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: duplicateKey},
		{Key: "code", Value: duplicateKeyCode}, {Key: "codeName", Value: "DuplicateKey"},
	})
}

// breaksUnique tells whether a command failed because SQLite found a duplicate where FerretDB expected none.
func breaksUnique(result bson.Raw) bool {
	reason, _ := result.Lookup("errmsg").StringValueOK()
	return strings.Contains(reason, "UNIQUE constraint failed")
}
