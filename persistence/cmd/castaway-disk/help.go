package main

const usage = `castaway-disk looks into the directory of a Castaway store, the one that has the
file castaway-store in it.

  castaway-disk groups   DIR          which groups there are, and how far they are
  castaway-disk show     DIR GROUP    what is kept of a group, and where
  castaway-disk entries  DIR GROUP    the entries of its log
  castaway-disk verify   DIR          read everything, check every checksum
  castaway-disk recovery DIR          what opening the store would do
  castaway-disk export   DIR GROUP    write a group to stdout, as JSON
  castaway-disk import   DIR GROUP    bring an exported group, from stdin, into a store
  castaway-disk lineage  DIR...       go on from one member when a majority is lost for good
  castaway-disk replay   FILE         play back how a node came to break an invariant

castaway-disk COMMAND -h explains one of them: its flags, its -json, examples.

GROUP is the name of a group, or '#' and its number. Flags may stand anywhere behind
the command, with one dash or two; behind -- there are only arguments. Every command
knows -json: it prints one JSON document with the same facts.

Nothing is changed. No file is made or written, and no lock is kept: whether a
process has the store open is asked by trying its lock, shared, for an instant. Only
import writes, and only with -write, and lineage, only with -accept-data-loss. A
store that a process has open is refused:
its files change while they are read. groups, show, entries and verify look at it
all the same with -live: they read until one reading was not disturbed, five times
at most, and what they print is how the store was a moment ago; the last things
saved may be missing. A store that is opened while it is read is noticed at the
end, and the answer then declared void.

Exit status: 0 all is well; 1 the answer is complete, and something is damaged;
2 there is no answer: wrong usage, no store, or what cannot be read; 3 the answer is
complete, and nothing was changed, because that takes a further word (lineage only).
In the cases 1 to 3 one line on stderr says why.

At three in the morning, with a member that does not start:

  castaway-disk recovery DIR     does the store open? If not, why not?
  castaway-disk verify DIR       what is damaged, and whom does it concern?

Leave the directory as it is. A store that is opened with badgerstore.Options.Repair
goes on with what is left: recovery says how. Or a member whose disk is damaged is
replaced by one with an empty directory. The others bring it up to date in either case.
Copy the damaged directory away first.

When no member finds a leader any more, because a majority of them is gone and does
not come back: castaway-disk lineage -h.

Examples:

  go run ./examples/kv -dir /tmp/islands          (and stop it)
  go run ./persistence/cmd/castaway-disk groups /tmp/islands/1/store
  go run ./persistence/cmd/castaway-disk entries /tmp/islands/1/store kv -from 10 -max 5
`

const storeFields = `  dir        the directory
  store      the store's id, 16 hexadecimal digits
  host       whose it is; 0: no host has opened it yet
  inUse      a process has it open
  fresh      it was being made when that was interrupted: nothing is in it
  cutting    a damage was being repaired when that was interrupted
`

const damageFields = `  damage     a list, empty if nothing is damaged:
    file, offset, bytes   where; bytes is 0 if it is not a part of a file
    detail                what is wrong
    batches               null, or first and last: the batches of the journal that
                          are lost, with whatever was saved in them
    concerns              a list of group, from, to: the entries that it concerns, as
                          far as is known; from is 0 for something else of a group
    apparently            concerns was read out of the damaged bytes themselves
`

const groupFields = `    number, name          name is text; if it is not UTF-8, nameBytes has it, too
    known                 false: what names this group is lost
    damaged               the disk has lost some of what the group had, or it was removed
                          and came back: the member is a newcomer since
    removed               null, or when the group was removed (Unix milliseconds): a
                          tombstone is left, with incarnation and hardState as they were
    incarnation           16 hexadecimal digits
    hardState             term, vote (0: none), cluster (16 digits), joined; and
                          witness, true, if it is a witness's
    base, snapshot        null, or index, term, time (Unix milliseconds), config
    first, last, entries  the log; last is first-1 if it is empty
    runs                  a list of term, first, last
    configs               a list of index, voters, outgoing, learners; and witnesses, if
                          there are any
    badger                null, or from, to (0 if no entries), version
    journal               a list of segment, from, to, records
    missing               a list of from, to: entries that should be there
`

const helpGroups = `castaway-disk groups DIR [-json] [-live]

Lists the groups of a store: the term and whom the member voted for in it, the
first and the last entry of the log, the newest snapshot, whether the member has
joined or is a newcomer (whose word does not count yet), and the incarnation, which
names this life of the disk. Groups that were removed are listed as such.

  -json   Print JSON.
  -live   Look although a process has the store open.

JSON:

` + storeFields + `  groups     a list:
` + groupFields + damageFields + `
Examples:

  castaway-disk groups /var/lib/kv
  castaway-disk groups /var/lib/kv -json | jq -r '.groups[] | select(.hardState.joined | not) | .name'
`

const helpShow = `castaway-disk show DIR GROUP [-json] [-live]

Shows what is kept of a group: incarnation, hard state, the newest snapshot, the
base (the entry before the first one of the log), the log with its terms and
configurations, which entries lie in Badger and which in what segment of the
journal.

How often a member was started is not kept on the disk: every start draws its
number anew.

  -json   Print JSON.
  -live   Look although a process has the store open.

JSON:

` + storeFields + `  group      the group:
` + groupFields + damageFields + `
Examples:

  castaway-disk show /var/lib/kv kv
  castaway-disk show /var/lib/kv '#1' -json | jq .group.hardState.term
`

const helpEntries = `castaway-disk entries DIR GROUP [-from N] [-to N] [-max N] [-data hex|text|none] [-bytes N] [-json] [-live]

Prints entries of a group's log, oldest first. Those that are missing or damaged
are said to be lost, each run of them on a line, and what follows is printed.

  -from N     The first entry. Default: the first of the log.
  -to N       The last one. Default: the last of the log.
  -max N      Print at most so many. Default 100; 0 prints all.
  -data HOW   How to print the data: text, in quotes and with escapes; hex; or none.
              Default text.
  -bytes N    Print at most so many bytes of the data of each. Default 64; 0 prints
              all. Not for -json, which prints all of it.
  -json       Print JSON.
  -live       Look although a process has the store open.

JSON:

` + storeFields + `  group      the group, as in show
  from, to   what is printed; to is from-1 if that is nothing
  more       how many more would have followed, but for -max
  dataIs     text, hex or none
  entries    a list:
    index, term, time     time in Unix milliseconds
    kind                  noop, command, config, host or meta (a witness's)
    bytes                 the length of the data
    data                  null if there is none; as text, what is not UTF-8 is replaced
    config                as one of configs in show; for kind config only
  lost       a list of from, to, detail
` + damageFields + `
Examples:

  castaway-disk entries /var/lib/kv kv -from 1000 -max 20
  castaway-disk entries /var/lib/kv kv -json -max 0 -data hex | jq -c '.entries[]'
`

const helpVerify = `castaway-disk verify DIR [-json] [-live]

Reads everything and checks it: every batch and record of every segment of the
journal, and that they follow from each other; every table and log of Badger; every
chunk of entries in it, and that no entry is missing; the root, the tickets and the
marks, by which transactions are noticed that Badger has lost; every snapshot, and that
each group has the one by which its log was cut. It does not stop at the first damage.
For each it says which groups and entries it concerns.

A torn batch at the very end of the journal is not damage, unless the watermark or a
segment vouches for it: nobody was told that it is durable. Nor is a torn transaction
at the end of a log of Badger, unless the journal or the root vouches for it.

  -json   Print JSON.
  -live   Look although a process has the store open. What is being written can look
          like damage: it is read again then, five times at most.

JSON:

` + storeFields + `  good       nothing is damaged
  segments   a list: segment, file, size, end (of what counts), life, firstBatch,
             lastBatch, batches, records (whole ones that count), good
  spares     a list of files that are kept to be used again
  strays     a list of files in the journal that are no part of it
  watermark  null if it says nothing, or the last batch that was durable
  torn       null, or file, offset, bytes, batch, records: the torn tail
  badger     transactions, mark (the journal says that there were so many),
             oldestSegment (that the journal must have), keys (by their kind), and
             files: file, kind, level, size, end, records, removed, torn, good
  snapshots  a list of group, file, size, index, term, good: newest first
  groups     a list of name, first, last, good, removed
` + damageFields + `
Examples:

  castaway-disk verify /var/lib/kv
  castaway-disk verify /var/lib/kv -json | jq '.damage[] | {file, offset, concerns}'
`

const helpRecovery = `castaway-disk recovery DIR [-json]

Goes through what opening the store would do, with the code that does it, up to the
point where something would change: which torn tail is dropped, which segments are
replayed, and which of them Badger has already; which segment is begun; which files
are cut or removed. If opening would fail, it prints the error that it would fail
with, and what Options.Repair would do about it; the exit status is 1.

Opening reads all of the journal, and of Badger what says which groups there are. A
damaged chunk of entries is met only by who reads it: it is reported here as damage
that opening does not notice. Who meets it leaves a note in the directory, the file
damage, by which the next opening with Options.Repair knows that it is to be repaired.

  -json   Print JSON.

JSON:

` + storeFields + `  opens      opening succeeds
  error      what it fails with otherwise
  repair     null if Options.Repair would do nothing, or does not help; else badger:
             Badger would be made anew; or file and offset where the journal would be
             cut off; file is empty if it has ended too early already
  segment    the segment of the journal that is begun
  replaces   there is one of this number already: it is replaced
  torn       null, or file, offset, bytes, batch, records: the torn tail, dropped
  lastBatch  null, or the same of the last batch, which is written again
  cut        null, or file, size (afterwards), bytes (that are cut off)
  replayed   a list of segment, records, handedOver (Badger has all of it)
  spares     the files that are removed from the journal
  badgerLogs     the logs that Badger replays, as in verify
  badgerRemoves  the tables that Badger removes
` + damageFields + `
Examples:

  castaway-disk recovery /var/lib/kv
  castaway-disk recovery /var/lib/kv -json | jq -r .error
`

const helpExport = `castaway-disk export DIR GROUP [-damaged] [-json]

Writes what is kept of a group to stdout: hard state, what the snapshot and the base
stand for, and the entries. The snapshot itself, the state of the machine, is not in
it.

  -damaged   Export although the store is damaged somewhere. The log of the group must
             still be whole. The file says that it is from a damaged store.
  -json      Changes nothing: the file is JSON.

The file is one JSON document, in lines. The first is the header and ends with
"entries":[. Each of the next is an entry, with a comma but for the last. The last
line closes the list and has the checksum, CRC-32C in 8 hexadecimal digits, of all
bytes before its own first digit:

  {"castaway":"group","format":1,"from":{...},"group":"kv",...,"entries":[
  {"index":1,"term":1,"time":1764037680000,"kind":"config","config":{...}},
  {"index":2,"term":1,"time":1764037680000,"kind":"command","data":"c2V0"}
  ],"checksum":"a1b2c3d4"}

  castaway   group
  format     1
  from       store, incarnation, damaged: where it is from
  group      the name; nameBytes, base64, if that is not UTF-8
  hardState, base, snapshot, first, last     as in show
  entries    a list:
    index, term, time     time in Unix milliseconds
    kind                  noop, command, config, host or meta (a witness's)
    data                  base64; absent if there is none, which is not the same as ""
    config                as one of configs in show; for kind config only

A file without its last line is from an export that was broken off; import refuses
it.

Examples:

  castaway-disk export /var/lib/kv kv > kv.json
  jq -r '.entries[] | select(.kind == "command") | .data' kv.json | head
`

const helpImport = `castaway-disk import DIR GROUP [-write [-create]] [-json] < FILE

Reads a file that export has written, checks all of it, and says what would be
imported. With -write it brings the group into the store in DIR, which nobody may
have open. The whole file is held in memory.

  -write    Do it.
  -create   Make the store, if DIR is empty or missing.
  -json     Print JSON.

The imported group is a newcomer: it gets a new incarnation and has not joined. So it
neither votes nor campaigns, and no leader counts what it says, until one that a
quorum of the others has confirmed has compared logs with it and admitted it. That
has to be so. The file may be older than what the member has promised since, and the
member itself may still run somewhere: if the copy spoke with its voice, two leaders
could be elected in one term, and acknowledged commands could be lost. What an
import saves is that the entries need not be sent again.

Refused are:

- a group that the store has already, even if nothing is in it;
- a log of nothing but the founding entry: newcomers with such a log may vote, as
  founders; start the member with an empty directory instead;
- a group with one voter alone: nobody could admit the copy, so it would never do
  anything again; move the directory of the member as a whole instead;
- a store that is damaged, and a file that is not whole.

If the group has a snapshot, the file has what it stands for, and not its contents:
the member needs those, too, before it can start.

JSON:

  dir, group      where to, and what
  written         it was done
  created         the store was made for it, or would be
  incarnation     the new one; empty if nothing was written
  hardState, snapshot, first, last    as in show; joined is false

Examples:

  castaway-disk import /var/lib/kv-new kv < kv.json
  castaway-disk import /var/lib/kv-new kv -write -create < kv.json
`

const helpLineage = `castaway-disk lineage DIR... -group G|-all [-id N] [-learners L] [-despite L] [-accept-data-loss] [-json]

The way out when a majority of a group's voters is lost for good. From what one
member has kept, the first DIR, a new lineage is begun: a group of its own, that has
the log of the old one, and this member as its only voter. Everything that only the
others had is lost, also if it was acknowledged. Without -accept-data-loss nothing is
changed: what is kept, what is lost and what speaks against it is printed, and the
exit status is 3.

As long as a majority may come back, wait. A group without one takes no harm: it
answers nothing. Its members say so: Status, with State running, names no Leader, and
as Silent the voters that do not answer. Propose and Read look for a leader until their
context ends, and end with ErrRejected then; the text has who is silent, the last entry,
and up to where they are known to be committed. What a leader had taken before it lost
the others ends with ErrUnknown. Local reads are still answered.

  -group G            The group: its name, or '#' and its number.
  -all                All groups of the first DIR: all of them are begun, or none. Those
                      whose only voter it is already, or that are empty, are passed over.
  -id N               Which member the first DIR belongs to: HostConfig.ID. Another
                      than that of the host that has opened it is refused; if the store does
                      not say, and it is wrong, nobody leads, and it is to be done again.
                      Needed for -accept-data-loss.
  -learners L         Members that are to join anew, with fresh disks: 2,3. They receive
                      everything, and answer reads. They cannot be voters from the
                      start: who comes with a fresh disk does not vote, and with a
                      majority of such nobody could be elected. If they were forgotten,
                      say them and -despite quorum: another lineage is begun, with them.
  -despite L          Do it despite what speaks against it, by these words:
                        worse     another DIR has a log that goes further
                        quorum    as many members are here as decide: nothing need be lost
                        damaged   the disk has lost the end of its log
                        newcomer  the member was never admitted: its log may be a part
                        learner   member N is a learner: nothing ever waited for its log
                        stranger  member N is not in the configuration
                      A DIR of another lineage, and one that is damaged and not repaired,
                      are always refused.
  -accept-data-loss   Do it.
  -json               Print JSON.

Which survivor? The one whose last entry is of the highest term, and of those the one
with the highest index: it has everything committed that the other survivors have.
Give all their directories, copied to one machine if need be: they are compared, and
the best has a * in the table. The first DIR alone is changed.

Step by step:

  1. Stop every host of the group, everywhere. Make sure that those who are lost stay
     lost: turn them off, take their disks away. If a majority of the old members runs
     on somewhere, the old group goes on beside the new one, and clients that reach it
     are answered.
  2. castaway-disk verify, on every survivor. Have a damaged one repaired
     (badgerstore.Options.Repair), or leave it out.
  3. Copy the directories of all survivors away.
  4. castaway-disk lineage -group NAME DIR1 DIR2 ...   and read what it says
  5. The same, the best DIR first, with -id N and -accept-data-loss.
  6. Start that host, as it always was: its configuration need not change. It finds the
     lineage on its disk, elects itself, and commits everything that its log has.
  7. Wipe the directories of all others, before any of them is started.
  8. Start them with GroupConfig.Join, those that are -learners. The rest waits until
     hosts can change the members of a group.

7 and 8 are not for tidiness. A host that is started with an empty directory and
without Join, as one of the founders, does what founders do: with others like it, it
founds the group once more, empty, beside the one that you have saved, and answers
clients with nothing. Learners hear of the new lineage from its leader, and found
nothing then; but only if 6 comes first, and the leader reaches them in time, and all
others never hear of it. So Join. An old directory does no harm to the new lineage, as
its messages are refused by their cluster, in both directions; but with enough of its
like it is a group, too. Who refuses another lineage says so: Status.OtherCluster, and
the errors of Propose and Read.

The change is one write: after a crash each group has its old lineage or its new one,
and the next run says which. It does not begin one twice: a group whose only voter is
the member already is passed over, unless -learners has others than it has.

JSON:

` + storeFields + `  written    it was done
  member     N, or 0
  learners   a list of members
  groups     a list:
    name, nameBytes     as in groups
    state               ready (-accept-data-loss does it), held (something speaks against
                        it), alone (the only voter already), empty, or begun
    best                the DIR whose log goes furthest
    disks               a list, the first DIR first: dir, first, last, lastTerm, hardState
                        as in show, damaged, committed (up to here, as far as the disk
                        knows; 0: it does not), config (null: it has nothing of the group)
    against             a list of word (for -despite; empty: none helps), named, detail
    begun               null, or cluster, term, index

Examples:

  castaway-disk lineage -group kv /mnt/1/store /mnt/2/store
  castaway-disk lineage -group kv -id 2 -learners 1,3 -accept-data-loss /mnt/2/store /mnt/1/store
  castaway-disk lineage -all -json /var/lib/kv | jq -r '.groups[] | select(.state == "held") | .name'
`

const helpReplay = `castaway-disk replay FILE [-max N] [-json]

Plays back the story of a broken invariant: what a node was told before it failed. A
new node, in memory, is given the same state and is told the same. The file is the
one that the log has named, fault-N.story, under snapshots/ in the directory of the
store, in the folder of the group. It is read as text, too.

  -max N   how many of the last lines to print, 100 if it is not said
  -json    print JSON

A line that is not set in is what the node was told, those that are set in what it
did. Commands are not in a story, only their sizes.

It has to be the same version of the program that has written the story. Exit status
1 means that the replay has not ended in the fault that the story tells of.

-json prints:

  file, group, node, boot, program, fault   what the story says of itself
  same       the replay has ended in that fault
  verdict    the same in a sentence
  lines      how many lines there are
  last       the last of them

Example:

  castaway-disk replay /var/lib/kv/store/snapshots/kv-1f0c/fault-5577006791947779410.story -max 40
`
