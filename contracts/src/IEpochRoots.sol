// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title What `EpochRoots` says and is told: its structs, events and errors
interface IEpochRoots {
    /// @dev What a distributor is made with; none of it can be changed.
    struct Terms {
        address proposer;
        address guardian;
        address arbiter;
        uint64 challengeWindow;
        uint64 verdictWindow;
        uint128 challengeBond;
        uint128 maxEpochIncrease;
    }

    struct Epoch {
        bytes32 root;
        bytes32 logRoot; // commits to the log of receipts and journals behind the root
        uint128 cumulativeTotal; // sum of all leaves
        uint64 activeAt; // first timestamp at which it can be claimed against, unless it is frozen then
        uint32 leafCount;
    }

    struct Challenge {
        address challenger; // zero: there is none
        uint64 verdictBy; // after it anybody may strike the root out
    }

    /// @dev What an epoch's root says of an account.
    struct Leaf {
        uint64 epoch;
        uint128 cumulative;
        bytes32[] proof;
    }

    event Funded(address indexed from, uint128 amount, uint128 funded);
    event RootProposed(
        uint64 indexed epoch,
        bytes32 root,
        bytes32 logRoot,
        uint128 cumulativeTotal,
        uint32 leafCount,
        uint64 activeAt,
        string uri
    );
    event RootVetoed(uint64 indexed epoch, bytes32 root, string reason);
    event RootChallenged(
        uint64 indexed epoch, address indexed challenger, bytes32 root, uint64 verdictBy, string evidence
    );
    event ChallengeResolved(uint64 indexed epoch, bytes32 root, bool valid);
    event ChallengeLapsed(uint64 indexed epoch, bytes32 root);
    event DecreaseProven(uint64 indexed epoch, uint64 earlier, address indexed account, uint128 was, uint128 becomes);
    /// @notice The roots of these epochs are gone; the first of them is proposed again. Follows what caused it.
    event RootsStruck(uint64 indexed first, uint64 last);
    event BondReturned(uint64 indexed epoch, address indexed challenger, uint128 amount);
    event BondTaken(address indexed challenger, address to, uint128 amount);

    error ZeroAddress();
    error ZeroAmount();
    error WindowTooShort(uint64 window, uint64 minimum);
    error NotProposer(address caller);
    error NotGuardian(address caller);
    error NotArbiter(address caller);
    error EpochOutOfOrder(uint64 expected, uint64 given);
    error EmptyRoot();
    error TooManyPending(uint64 epoch);
    error TotalDecreased(uint128 previous, uint128 given);
    error IncreaseTooLarge(uint128 increase, uint128 maximum);
    error Insolvent(uint128 cumulativeTotal, uint128 funded);
    error EpochUnknown(uint64 epoch);
    error EpochPending(uint64 epoch, uint64 activeAt);
    error EpochFrozen(uint64 epoch, uint64 frozenFrom);
    error EpochActive(uint64 epoch);
    error RootMoved(uint64 epoch, bytes32 root);
    error AlreadyChallenged(uint64 epoch, address challenger);
    error NotChallenged(uint64 epoch);
    error VerdictAwaited(uint64 epoch, uint64 verdictBy);
    error BondIncomplete(uint128 received, uint128 bond);
    error NoBond(address challenger);
    error NoDecrease(uint128 was, uint128 becomes);
    error InvalidProof(address account);
}
