// What mongodb.sh does in mongosh, told by MONGODB_DO: `state` and `unlock` are answered on standard output; `keep`
// locks, then answers `state` and `unlock` through files until it has unlocked, or the record is gone and nothing is ours.
const fs = require('fs');

const keeper = process.env.MONGODB_KEEPER;
const record = process.env.MONGODB_RECORD;
const comment = 'quiesced ' + process.env.QUIESCED_HOOK;
const uri = fs.readFileSync(process.env.MONGODB_URI_FILE, 'utf8').trim();
const admin = connect(uri).getSiblingDB('admin');

// A lock that is still waited for counts as held: it may come about when nobody waits for its answer any more.
function pending() {
    const found = [];
    for (const operation of admin.adminCommand({ currentOp: 1 }).inprog) {
        if (operation.command && operation.command.fsync && operation.command.comment === comment) {
            found.push(operation.opid);
        }
    }
    return found;
}

// The process id is new after a restart (topologyVersion, MongoDB 4.4 and later). A restart ends every lock.
function state() {
    const locked = admin.adminCommand({ currentOp: 1 }).fsyncLock === true;
    if (!locked && pending().length === 0) {
        return 'free';
    }
    return 'held in process ' + admin.adminCommand({ hello: 1 }).topologyVersion.processId;
}

function lock() {
    if (admin.adminCommand({ hello: 1 }).msg === 'isdbgrid') {
        return 'this is mongos, which locks a cluster; a mongod is needed';
    }
    if (state() !== 'free') {
        return 'busy';
    }
    const command = { fsync: 1, lock: true, comment: comment };
    const [major, minor, patch] = admin.adminCommand({ buildInfo: 1 }).versionArray;
    if (major > 7 || (major === 7 && (minor > 0 || patch >= 2))) {
        command.fsyncLockAcquisitionTimeoutMillis = 4000;
    }
    if (admin.adminCommand(command).lockCount > 1) {
        admin.adminCommand({ fsyncUnlock: 1 });
        return 'busy';
    }
    return 'locked';
}

function unlock() {
    for (const opid of pending()) {
        admin.adminCommand({ killOp: 1, op: opid });
    }
    if (admin.adminCommand({ currentOp: 1 }).fsyncLock === true) {
        admin.adminCommand({ fsyncUnlock: 1 });
    }
    return 'unlocked';
}

function answer(text) {
    fs.writeFileSync(keeper + '/answer.new', text + '\n');
    fs.renameSync(keeper + '/answer.new', keeper + '/answer');
}

function keep() {
    const locked = lock();
    answer(locked);
    if (locked !== 'locked') {
        return;
    }
    let asked = '';
    while (asked !== 'unlock' && fs.existsSync(record)) {
        sleep(50);
        asked = '';
        if (fs.existsSync(keeper + '/ask')) {
            asked = fs.readFileSync(keeper + '/ask', 'utf8');
            fs.unlinkSync(keeper + '/ask');
            answer(asked === 'unlock' ? unlock() : state());
        }
    }
}

switch (process.env.MONGODB_DO) {
    case 'state':
        print(state());
        break;
    case 'unlock':
        print(unlock());
        break;
    case 'keep':
        keep();
        break;
}
