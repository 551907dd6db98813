// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IEpochRoots} from "../src/IEpochRoots.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle, Vm} from "./Base.sol";

/// @dev Does, in any order, what payers, operator, proposer, guardian, challengers, arbiter and claimants may do, and
/// keeps its own books. Roots lie now and then: a leaf falls, and another rises by as much.
contract Actors {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    uint256 internal constant PAYERS = 3;
    uint256 public constant EARNERS = 5;

    OpenToken internal immutable token;
    RewardsDistributor internal immutable distributor;
    InferenceEscrow internal immutable escrow;
    address internal immutable proposer;
    address internal immutable guardian;
    address internal immutable operator;
    address internal immutable arbiter;

    // Addresses of the keys 1.. and 0xEA00..: computing one takes longer than a call.
    address[] internal payers;
    address[] internal earners;

    uint128 public deposits;
    uint128 public withdrawn;
    uint128 public redeemed;
    uint128 public paid;
    uint128 public fees;
    uint128 public forfeited;
    uint64 public highestActive;
    mapping(uint64 epoch => uint128[]) internal amounts;
    uint128[] internal highest = new uint128[](EARNERS);

    constructor(OpenToken t, RewardsDistributor d, InferenceEscrow e) {
        (token, distributor, escrow) = (t, d, e);
        (proposer, guardian, arbiter, operator) = (d.proposer(), d.guardian(), d.arbiter(), e.operator());
        for (uint256 i = 0; i < PAYERS; ++i) {
            payers.push(vm.addr(1 + i));
        }
        for (uint256 i = 0; i < EARNERS; ++i) {
            earners.push(vm.addr(0xEA00 + i));
        }
    }

    /// What was active stays active: looked at after every step, whatever it was.
    modifier noted() {
        _;
        uint64 active = distributor.activeEpoch();
        require(active >= highestActive, "an active epoch was taken back");
        highestActive = active;
    }

    function payerOf(uint256 i) public view returns (address) {
        return payers[i % PAYERS];
    }

    function earnerOf(uint256 i) public view returns (address) {
        return earners[i % EARNERS];
    }

    /// Where an earner has money sent by signature.
    function otherOf(uint256 i) public pure returns (address) {
        return address(uint160(0x07E4 + i % EARNERS));
    }

    function challengerOf(uint256 i) public pure returns (address) {
        return address(uint160(0xC4A1 + i % 2));
    }

    function pass(uint32 duration) external noted {
        vm.warp(block.timestamp + duration % 3 days);
    }

    function deposit(uint256 who, uint128 amount) external {
        amount = 1 + amount % 1e21;
        token.approve(address(escrow), amount);
        escrow.depositFor(payerOf(who), amount);
        deposits += amount;
    }

    function redeem(uint256 who, uint128 spent) external {
        (uint128 deposited,) = escrow.accounts(payerOf(who));
        spent = spent % (deposited + 1);
        bytes32 digest = escrow.authorisationDigest(payerOf(who), spent, type(uint64).max);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(1 + who % PAYERS, digest);
        InferenceEscrow.Redemption[] memory list = new InferenceEscrow.Redemption[](1);
        list[0] = InferenceEscrow.Redemption(payerOf(who), spent, spent, type(uint64).max, abi.encodePacked(r, s, v));
        vm.prank(operator);
        redeemed += escrow.redeem(list);
    }

    function askBack(uint256 who, uint128 amount) external {
        amount = amount % (escrow.balanceOf(payerOf(who)) + 1);
        vm.prank(payerOf(who));
        escrow.initiateWithdraw(amount);
    }

    function takeBack(uint256 who) external {
        (, uint64 availableAt) = escrow.withdrawals(payerOf(who));
        if (availableAt == 0 || availableAt > block.timestamp) return;
        uint256 before = token.balanceOf(payerOf(who));
        vm.prank(payerOf(who));
        escrow.finalizeWithdraw();
        withdrawn += uint128(token.balanceOf(payerOf(who)) - before);
    }

    /// Spreads some of what is funded and not yet promised over the earners, as the next epoch's root.
    function propose(uint128 part, uint256 seed) external noted {
        uint64 epoch = distributor.lastEpoch() + 1;
        if (epoch > distributor.activeEpoch() + 4) return;
        uint128[] memory next = new uint128[](EARNERS);
        uint128 total = 0;
        uint128 promised = epoch == 1 ? 0 : distributor.epochOf(epoch - 1).cumulativeTotal;
        uint128 room = distributor.funded() - promised;
        for (uint256 i = 0; i < EARNERS; ++i) {
            uint128 share = room == 0 ? 0 : uint128(uint256(keccak256(abi.encode(seed, i))) % (room + 1)) / 2;
            share = part % 5 == i ? 0 : share;
            room -= share;
            next[i] = (epoch == 1 ? 0 : amounts[epoch - 1][i]) + share;
            total += next[i];
        }
        if (seed % 4 == 0) lie(next, part % EARNERS);
        amounts[epoch] = next;
        bytes32 root = Merkle.root(leavesOf(epoch));
        vm.prank(proposer);
        distributor.proposeRoot(epoch, root, bytes32(seed), total, uint32(EARNERS), "");
    }

    /// Moves half of one earner's leaf to the next.
    function lie(uint128[] memory next, uint256 victim) internal pure {
        uint128 taken = next[victim] / 2;
        next[victim] -= taken;
        next[(victim + 1) % next.length] += taken;
    }

    function veto(uint8 back) external noted {
        uint64 epoch = pendingOf(back);
        if (epoch == 0) return;
        vm.prank(guardian);
        distributor.veto(epoch, "");
    }

    function challenge(uint256 who, uint8 back) external noted {
        uint64 epoch = pendingOf(back);
        if (epoch == 0 || challenged(epoch)) return;
        uint128 bond = distributor.challengeBond();
        token.transfer(challengerOf(who), bond);
        vm.prank(challengerOf(who));
        token.approve(address(distributor), bond);
        bytes32 root = distributor.epochOf(epoch).root;
        vm.prank(challengerOf(who));
        distributor.challenge(epoch, root, "");
    }

    function resolve(uint8 back, bool valid) external noted {
        uint64 epoch = pendingOf(back);
        if (epoch == 0 || !challenged(epoch)) return;
        bytes32 root = distributor.epochOf(epoch).root;
        vm.prank(arbiter);
        distributor.resolve(epoch, root, valid);
        if (valid) forfeited += distributor.challengeBond();
    }

    function lapse(uint8 back) external noted {
        uint64 epoch = pendingOf(back);
        (, uint64 verdictBy) = distributor.challenges(epoch);
        if (verdictBy == 0 || verdictBy >= block.timestamp) return;
        distributor.lapse(epoch);
    }

    function takeBond(uint256 who) external {
        address challenger = challengerOf(who);
        if (distributor.bondOf(challenger) == 0) return;
        vm.prank(challenger);
        distributor.takeBond(address(this));
    }

    /// Finds an earner whose leaf fell from the root before to a pending one, and says so.
    function proveDecrease(uint8 back) external noted {
        uint64 epoch = pendingOf(back);
        for (uint256 i = 0; epoch > 1 && i < EARNERS; ++i) {
            if (amounts[epoch][i] >= amounts[epoch - 1][i]) continue;
            distributor.proveDecrease(earnerOf(i), leafOf(epoch - 1, i), leafOf(epoch, i));
            return;
        }
    }

    /// Claims for one earner against one of the roots that the contract must still know.
    function claim(uint256 who, uint8 back) external noted {
        who = who % EARNERS;
        (uint64 epoch, uint128 cumulative) = due(who, back);
        if (cumulative == 0) return;
        paid += distributor.claim(earnerOf(who), cumulative, epoch, leafOf(epoch, who).proof);
        highest[who] = cumulative;
    }

    function claimWithSig(uint256 who, uint8 back, uint128 fee) external noted {
        who = who % EARNERS;
        (uint64 epoch, uint128 cumulative) = due(who, back);
        if (cumulative == 0) return;
        fee = fee % (cumulative - distributor.claimed(earnerOf(who)) + 1);
        uint64 until = uint64(block.timestamp);
        bytes32 digest = distributor.claimDigest(earnerOf(who), otherOf(who), cumulative, fee, until);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(0xEA00 + who, digest);
        RewardsDistributor.SignedClaim memory c = RewardsDistributor.SignedClaim(
            earnerOf(who), otherOf(who), cumulative, fee, until, leafOf(epoch, who).proof, abi.encodePacked(r, s, v)
        );
        paid += distributor.claimWithSig(c, epoch, fee);
        fees += fee;
        highest[who] = cumulative;
    }

    function claimAll() external noted {
        uint64 epoch = distributor.activeEpoch();
        if (epoch == 0) return;
        bytes32[] memory leaves = leavesOf(epoch);
        RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](EARNERS);
        for (uint256 i = 0; i < EARNERS; ++i) {
            claims[i] = RewardsDistributor.Claim(earnerOf(i), amounts[epoch][i], Merkle.proof(leaves, i));
        }
        paid += distributor.claimMany(epoch, claims);
        for (uint256 i = 0; i < EARNERS; ++i) {
            uint128 claimed = distributor.claimed(earnerOf(i));
            require(claimed == highest[i] || claimed == amounts[epoch][i], "neither as before nor as proven");
            require(claimed >= highest[i], "claimed fell");
            highest[i] = claimed;
        }
    }

    /// A pending epoch, frozen or not, cannot be claimed against.
    function claimTooEarly(uint256 who, uint8 back) external {
        who = who % EARNERS;
        uint64 epoch = pendingOf(back);
        if (epoch == 0) return;
        IEpochRoots.Leaf memory leaf = leafOf(epoch, who);
        try distributor.claim(earnerOf(who), leaf.cumulative, epoch, leaf.proof) {
            revert("claimed against a pending epoch");
        } catch (bytes memory reason) {
            bool frozen = distributor.frozenFrom() != 0 && distributor.frozenFrom() <= epoch;
            bytes4 said = bytes4(reason);
            require(
                said == IEpochRoots.EpochPending.selector || (frozen && said == IEpochRoots.EpochFrozen.selector),
                "refused for another reason"
            );
        }
    }

    function challenged(uint64 epoch) public view returns (bool) {
        (address challenger,) = distributor.challenges(epoch);
        return challenger != address(0);
    }

    /// One of the pending epochs; 0 if there is none.
    function pendingOf(uint8 back) internal view returns (uint64) {
        uint64 last = distributor.lastEpoch();
        uint64 active = distributor.activeEpoch();
        return last == active ? 0 : last - uint64(back) % (last - active);
    }

    /// An active epoch, and what the earner can claim against it; 0 if that is nothing, or more than is left.
    function due(uint256 who, uint8 back) internal view returns (uint64 epoch, uint128 cumulative) {
        uint64 active = distributor.activeEpoch();
        if (active == 0) return (0, 0);
        uint64 age = uint64(back) % 4;
        epoch = active > age ? active - age : 1;
        cumulative = amounts[epoch][who];
        uint128 before = highest[who];
        uint128 room = distributor.epochOf(active).cumulativeTotal - distributor.totalClaimed();
        if (cumulative <= before || cumulative - before > room) cumulative = 0;
    }

    function leafOf(uint64 epoch, uint256 who) internal view returns (IEpochRoots.Leaf memory) {
        return IEpochRoots.Leaf(epoch, amounts[epoch][who], Merkle.proof(leavesOf(epoch), who));
    }

    /// The highest leaf that was claimed for an earner.
    function claimedBy(uint256 who) external view returns (uint128) {
        return highest[who];
    }

    function leavesOf(uint64 epoch) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](EARNERS);
        for (uint256 i = 0; i < EARNERS; ++i) {
            leaves[i] = distributor.leafOf(earnerOf(i), amounts[epoch][i]);
        }
    }
}

contract InvariantsTest is Base {
    Actors internal actors;

    function setUp() public override {
        super.setUp();
        actors = new Actors(token, distributor, escrow);
        give(address(actors), SUPPLY);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// One invariant, so that one campaign looks at all of it after every call.
    function invariant_everyUnitHasItsPlace() public view {
        claimedIsPromisedIsFunded();
        distributorHoldsWhatItOwes();
        frozenIsNotActive();
        everyEarnerHasTheirHighestClaim();
        escrowConserves();
    }

    function claimedIsPromisedIsFunded() internal view {
        uint64 active = distributor.activeEpoch();
        uint128 promised = active == 0 ? 0 : distributor.epochOf(active).cumulativeTotal;
        require(distributor.totalClaimed() <= promised, "claimed more than promised");
        require(promised <= distributor.funded(), "promised more than funded");
        eq(distributor.totalClaimed(), actors.paid());
        eq(distributor.funded(), actors.redeemed() + actors.forfeited());
    }

    function distributorHoldsWhatItOwes() internal view {
        uint128 left = distributor.funded() - distributor.totalClaimed();
        eq(token.balanceOf(address(distributor)), left + distributor.bonds());
        uint128 bonds = distributor.bondOf(actors.challengerOf(0)) + distributor.bondOf(actors.challengerOf(1));
        for (uint64 epoch = distributor.activeEpoch() + 1; epoch <= distributor.lastEpoch(); ++epoch) {
            if (actors.challenged(epoch)) bonds += BOND;
        }
        eq(distributor.bonds(), bonds);
    }

    function frozenIsNotActive() internal view {
        uint64 frozen = distributor.frozenFrom();
        uint64 active = distributor.activeEpoch();
        require(frozen == 0 || (active < frozen && actors.challenged(frozen)), "frozen and active");
        for (uint64 epoch = active + 1; epoch <= distributor.lastEpoch(); ++epoch) {
            require(!actors.challenged(epoch) || (frozen != 0 && frozen <= epoch), "challenged and not frozen");
        }
        require(!actors.challenged(active) && !actors.challenged(distributor.lastEpoch() + 1), "a challenge of nothing");
    }

    function everyEarnerHasTheirHighestClaim() internal view {
        uint256 held = 0;
        for (uint256 i = 0; i < actors.EARNERS(); ++i) {
            eq(distributor.claimed(actors.earnerOf(i)), actors.claimedBy(i));
            held += token.balanceOf(actors.earnerOf(i)) + token.balanceOf(actors.otherOf(i));
        }
        eq(held, actors.paid() - actors.fees());
    }

    function escrowConserves() internal view {
        uint128 held = 0;
        for (uint256 i = 0; i < 3; ++i) {
            held += escrow.balanceOf(actors.payerOf(i));
        }
        eq(token.balanceOf(address(escrow)), held);
        eq(held, actors.deposits() - actors.withdrawn() - actors.redeemed());
    }
}
