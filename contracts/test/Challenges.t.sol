// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IEpochRoots} from "../src/IEpochRoots.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle} from "./Base.sol";

/// @dev Bonded challenges and verdicts, and the proof that an account's leaf fell.
contract ChallengesTest is Base {
    address internal constant CAROL = address(0xCA801);
    address internal constant DAVE = address(0xDA7E);

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < 2; ++i) {
            address who = i == 0 ? CAROL : DAVE;
            give(who, 10 * BOND);
            vm.prank(who);
            token.approve(address(distributor), type(uint256).max);
        }
    }

    function root(uint64 epoch) internal pure returns (bytes32) {
        return keccak256(abi.encode("root", epoch));
    }

    /// @dev Empty roots up to an epoch, the last `pending` of them pending.
    function proposed(uint64 last, uint64 pending) internal {
        for (uint64 epoch = distributor.lastEpoch() + 1; epoch <= last; ++epoch) {
            if (epoch == last - pending + 1) pass(WINDOW);
            propose(epoch, root(epoch), 0);
        }
    }

    function challenge(address who, uint64 epoch) internal {
        vm.prank(who);
        distributor.challenge(epoch, root(epoch), "sha256:00");
    }

    function resolve(uint64 epoch, bool valid) internal {
        vm.prank(ARBITER);
        distributor.resolve(epoch, root(epoch), valid);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    function solvent() internal view {
        eq(
            token.balanceOf(address(distributor)),
            distributor.funded() - distributor.totalClaimed() + distributor.bonds()
        );
    }

    // --- challenging

    function test_anyoneFreezesAPendingRoot() public {
        proposed(2, 1);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit IEpochRoots.RootChallenged(2, CAROL, root(2), uint64(block.timestamp) + VERDICT, "sha256:00");
        challenge(CAROL, 2);
        eq(distributor.frozenFrom(), 2);
        eq(distributor.bonds(), BOND);
        eq(token.balanceOf(CAROL), 9 * BOND);
        pass(WINDOW);
        eq(distributor.activeEpoch(), 1);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochFrozen.selector, 2, 2));
        distributor.claim(CAROL, 1, 2, new bytes32[](0));
        refuse(abi.encodeWithSelector(IEpochRoots.EpochFrozen.selector, 2, 2));
        distributor.claimMany(2, new RewardsDistributor.Claim[](0));
        solvent();
    }

    /// An active root is beyond everybody's reach, while a later one is frozen too.
    function test_onlyPendingRootsAreChallenged() public {
        proposed(3, 2);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochActive.selector, 1));
        challenge(CAROL, 1);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 4));
        challenge(CAROL, 4);
        challenge(CAROL, 2);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochActive.selector, 1));
        challenge(DAVE, 1);
        pass(WINDOW);
        eq(distributor.activeEpoch(), 1);
        eq(distributor.bonds(), BOND);
    }

    /// What is built on a frozen root can be challenged for as long as it is not active, however old it is.
    function test_whatIsBuiltOnAFrozenRootIsFrozenAndCanBeChallenged() public {
        proposed(3, 2);
        challenge(CAROL, 2);
        pass(2 * WINDOW);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochFrozen.selector, 3, 2));
        distributor.claim(CAROL, 1, 3, new bytes32[](0));
        challenge(DAVE, 3);
        eq(distributor.frozenFrom(), 2);
        resolve(2, true);
        eq(distributor.frozenFrom(), 3);
        pass(WINDOW);
        eq(distributor.activeEpoch(), 2);
    }

    function test_anOlderRootIsChallengedWhileALaterOneIs() public {
        proposed(3, 2);
        challenge(CAROL, 3);
        challenge(DAVE, 2);
        eq(distributor.frozenFrom(), 2);
        eq(distributor.bonds(), 2 * BOND);
        refuse(abi.encodeWithSelector(IEpochRoots.AlreadyChallenged.selector, 2, DAVE));
        challenge(CAROL, 2);
    }

    function test_noBondIsStakedAgainstAnotherRoot() public {
        proposed(2, 1);
        vm.prank(GUARDIAN);
        distributor.veto(2, "");
        propose(2, keccak256("better"), 0);
        refuse(abi.encodeWithSelector(IEpochRoots.RootMoved.selector, 2, keccak256("better")));
        challenge(CAROL, 2);
    }

    function test_frozenRootsCountAsPending() public {
        proposed(2, 1);
        challenge(CAROL, 2);
        for (uint64 epoch = 3; epoch <= 5; ++epoch) {
            pass(WINDOW);
            propose(epoch, root(epoch), 0);
        }
        refuse(abi.encodeWithSelector(IEpochRoots.TooManyPending.selector, 6));
        propose(6, root(6), 0);
        eq(distributor.activeEpoch(), 1);
    }

    // --- verdicts

    function test_aWrongRootGoesWithWhatWasBuiltOnItAndBondsComeBack() public {
        proposed(3, 2);
        challenge(CAROL, 2);
        challenge(DAVE, 3);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit IEpochRoots.RootsStruck(2, 3);
        resolve(2, false);
        eq(distributor.lastEpoch(), 1);
        eq(distributor.frozenFrom(), 0);
        eq(distributor.bondOf(CAROL), BOND);
        eq(distributor.bondOf(DAVE), BOND);
        eq(distributor.bonds(), 2 * BOND);
        eq(token.balanceOf(CAROL), 9 * BOND);
        vm.prank(CAROL);
        distributor.takeBond(CAROL);
        vm.prank(DAVE);
        distributor.takeBond(address(0xBEEF));
        eq(token.balanceOf(CAROL), 10 * BOND);
        eq(token.balanceOf(address(0xBEEF)), BOND);
        eq(distributor.bonds(), 0);
        refuse(abi.encodeWithSelector(IEpochRoots.NoBond.selector, CAROL));
        vm.prank(CAROL);
        distributor.takeBond(CAROL);
        propose(2, keccak256("better"), 0);
        pass(WINDOW);
        eq(distributor.activeEpoch(), 2);
        solvent();
    }

    /// Striking a later root leaves an older challenge as it is.
    function test_aLaterRootGoesAlone() public {
        proposed(3, 2);
        challenge(CAROL, 2);
        challenge(DAVE, 3);
        resolve(3, false);
        eq(distributor.lastEpoch(), 2);
        eq(distributor.frozenFrom(), 2);
        eq(distributor.bondOf(DAVE), BOND);
        eq(distributor.bondOf(CAROL), 0);
    }

    /// A lost bond goes to nobody who had a say: it is added to what may be paid out.
    function test_aRightRootGoesOnAndTheBondIsForfeited() public {
        proposed(2, 1);
        challenge(CAROL, 2);
        pass(3 * WINDOW);
        resolve(2, true);
        eq(distributor.bonds(), 0);
        eq(distributor.bondOf(CAROL), 0);
        eq(distributor.funded(), BOND);
        solvent();
        refuse(abi.encodeWithSelector(IEpochRoots.NotChallenged.selector, 2));
        resolve(2, false);
    }

    /// A challenge for a bad reason does not use up the time of those who have a good one.
    function test_aDismissedChallengeBeginsTheWindowAnew() public {
        proposed(3, 2);
        challenge(CAROL, 2);
        pass(3 * WINDOW);
        resolve(2, true);
        eq(distributor.activeEpoch(), 1);
        challenge(DAVE, 2);
        resolve(2, true);
        pass(WINDOW - 1);
        eq(distributor.activeEpoch(), 1);
        pass(1);
        eq(distributor.activeEpoch(), 3);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochActive.selector, 2));
        challenge(DAVE, 2);
    }

    function test_onlyTheArbiterDecidesAndOnlyOnTheRootThatIsThere() public {
        proposed(2, 1);
        challenge(CAROL, 2);
        address[3] memory others = [address(this), GUARDIAN, PROPOSER];
        for (uint256 i = 0; i < 3; ++i) {
            refuse(abi.encodeWithSelector(IEpochRoots.NotArbiter.selector, others[i]));
            vm.prank(others[i]);
            distributor.resolve(2, root(2), true);
        }
        refuse(abi.encodeWithSelector(IEpochRoots.RootMoved.selector, 2, root(2)));
        vm.prank(ARBITER);
        distributor.resolve(2, root(1), true);
        refuse(abi.encodeWithSelector(IEpochRoots.NotChallenged.selector, 1));
        resolve(1, false);
    }

    function test_theArbitersSilenceStrikesTheRoot() public {
        proposed(2, 1);
        refuse(abi.encodeWithSelector(IEpochRoots.NotChallenged.selector, 2));
        distributor.lapse(2);
        challenge(CAROL, 2);
        uint64 verdictBy = uint64(block.timestamp) + VERDICT;
        pass(VERDICT);
        refuse(abi.encodeWithSelector(IEpochRoots.VerdictAwaited.selector, 2, verdictBy));
        distributor.lapse(2);
        pass(1);
        distributor.lapse(2);
        eq(distributor.lastEpoch(), 1);
        eq(distributor.bondOf(CAROL), BOND);
        solvent();
    }

    function test_aVerdictAfterItsTimeStillCounts() public {
        proposed(2, 1);
        challenge(CAROL, 2);
        pass(2 * VERDICT);
        resolve(2, true);
        eq(distributor.lastEpoch(), 2);
    }

    function test_theGuardianVetoesAFrozenRootAndTheBondComesBack() public {
        proposed(2, 1);
        challenge(CAROL, 2);
        pass(3 * WINDOW);
        vm.prank(GUARDIAN);
        distributor.veto(2, "wrong sum");
        eq(distributor.frozenFrom(), 0);
        eq(distributor.bondOf(CAROL), BOND);
    }

    // --- a leaf that falls

    /// @dev A tree over CAROL and DAVE with proofs.
    function pair(uint64 epoch, uint128 c, uint128 d)
        internal
        view
        returns (bytes32 top, IEpochRoots.Leaf memory carol, IEpochRoots.Leaf memory dave)
    {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = distributor.leafOf(CAROL, c);
        leaves[1] = distributor.leafOf(DAVE, d);
        carol = IEpochRoots.Leaf(epoch, c, Merkle.proof(leaves, 0));
        dave = IEpochRoots.Leaf(epoch, d, Merkle.proof(leaves, 1));
        return (Merkle.root(leaves), carol, dave);
    }

    function test_aFallingLeafStrikesTheRootAndReturnsTheBond() public {
        fund(200);
        (bytes32 first, IEpochRoots.Leaf memory was, IEpochRoots.Leaf memory other) = pair(1, 40, 60);
        propose(1, first, 100);
        pass(WINDOW);
        (bytes32 second, IEpochRoots.Leaf memory becomes, IEpochRoots.Leaf memory risen) = pair(2, 39, 161);
        propose(2, second, 200);
        vm.prank(DAVE);
        distributor.challenge(2, second, "");
        refuse(abi.encodeWithSelector(IEpochRoots.NoDecrease.selector, 60, 161));
        distributor.proveDecrease(DAVE, other, risen);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit IEpochRoots.DecreaseProven(2, 1, CAROL, 40, 39);
        distributor.proveDecrease(CAROL, was, becomes);
        eq(distributor.lastEpoch(), 1);
        eq(distributor.bondOf(DAVE), BOND);
        eq(distributor.frozenFrom(), 0);
        solvent();
    }

    function test_whatProvesNoDecreaseIsRefused() public {
        fund(200);
        (bytes32 first, IEpochRoots.Leaf memory was, IEpochRoots.Leaf memory dave) = pair(1, 40, 60);
        propose(1, first, 100);
        pass(WINDOW);
        (bytes32 second, IEpochRoots.Leaf memory becomes,) = pair(2, 40, 160);
        propose(2, second, 200);
        refuse(abi.encodeWithSelector(IEpochRoots.NoDecrease.selector, 40, 40));
        distributor.proveDecrease(CAROL, was, becomes);
        // Somebody else's higher leaf, and a lower amount than the root says.
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, CAROL));
        distributor.proveDecrease(CAROL, dave, becomes);
        becomes.cumulative = 39;
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, CAROL));
        distributor.proveDecrease(CAROL, was, becomes);
        // Roots in the wrong order, the same root twice, one that is active.
        refuse(abi.encodeWithSelector(IEpochRoots.EpochOutOfOrder.selector, 1, 2));
        distributor.proveDecrease(CAROL, becomes, was);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochOutOfOrder.selector, 1, 1));
        distributor.proveDecrease(CAROL, was, was);
        pass(WINDOW);
        (, becomes,) = pair(2, 39, 161);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochActive.selector, 2));
        distributor.proveDecrease(CAROL, was, becomes);
    }

    /// Two roots proposed together become active together: between them the proof must work while both are pending.
    function test_aFallBetweenPendingRootsIsProven() public {
        fund(200);
        (bytes32 first, IEpochRoots.Leaf memory was,) = pair(1, 40, 60);
        (bytes32 second, IEpochRoots.Leaf memory becomes,) = pair(2, 1, 199);
        propose(1, first, 100);
        propose(2, second, 200);
        distributor.proveDecrease(CAROL, was, becomes);
        eq(distributor.lastEpoch(), 1);
    }

    // --- whatever happens

    /// Any mixture of challenges and endings leaves every bond in one place, and the clock of the roots in order.
    function testFuzz_everyBondIsSomewhere(uint8[12] calldata moves) public {
        proposed(5, 4);
        for (uint256 i = 0; i < moves.length; ++i) {
            uint64 last = distributor.lastEpoch();
            uint64 epoch = 1 + uint64(moves[i] / 8) % last;
            (address challenger,) = distributor.challenges(epoch);
            bool active = epoch <= distributor.activeEpoch();
            if (moves[i] % 8 < 4 && challenger == address(0) && !active) challenge(i % 2 == 0 ? CAROL : DAVE, epoch);
            if (moves[i] % 8 == 4 && challenger != address(0)) resolve(epoch, true);
            if (moves[i] % 8 == 5 && challenger != address(0)) resolve(epoch, false);
            if (moves[i] % 8 == 6) pass(WINDOW / 2);
            if (moves[i] % 8 == 7 && !active) {
                vm.prank(GUARDIAN);
                distributor.veto(epoch, "");
            }
            checked();
        }
    }

    function checked() internal view {
        solvent();
        uint128 open = 0;
        uint64 oldest = 0;
        uint64 clock = 0;
        for (uint64 epoch = 1; epoch <= 5; ++epoch) {
            (address challenger,) = distributor.challenges(epoch);
            if (challenger != address(0)) open += BOND;
            if (challenger != address(0) && oldest == 0) oldest = epoch;
            require(challenger == address(0) || epoch <= distributor.lastEpoch(), "a challenge of nothing");
            if (epoch > distributor.lastEpoch()) continue;
            require(distributor.epochOf(epoch).activeAt >= clock, "roots out of order");
            clock = distributor.epochOf(epoch).activeAt;
        }
        eq(distributor.frozenFrom(), oldest);
        eq(distributor.bonds(), open + distributor.bondOf(CAROL) + distributor.bondOf(DAVE));
    }
}
